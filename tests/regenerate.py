"""Rewrites what is generated: ``python -m tests.regenerate contract | runtime``."""

from __future__ import annotations

import io
import re
import sys

from ruamel.yaml import YAML

from tests.contract import ROOT, code_dependencies

#: Packages whose version can change an output's bytes.
DECISIVE = (
    "ai-edge-litert",
    "h5py",
    "keras",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "tensorflow",
)


def runtime_text() -> str:
    lock = (ROOT / "requirements.lock").read_text()
    lines = ["# The versions that decide the bytes of the outputs. Written by `make runtime`."]
    for name in DECISIVE:
        match = re.search(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE)
        assert match, f"{name} is not in requirements.lock"
        lines.append(f"{name}=={match[1]}")
    return "\n".join(lines) + "\n"


def contract_text() -> str:
    """dvc.yaml with every stage's code dependencies as the imports say, all else untouched."""
    yaml = YAML(typ="rt")
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    source = (ROOT / "dvc.yaml").read_text()
    document = yaml.load(source)
    for name, entry in document["stages"].items():
        data = [dep for dep in entry["deps"] if not dep.endswith(".py")]
        entry["deps"][:] = [*data, *code_dependencies(name)]
    target = io.StringIO()
    yaml.dump(document, target)
    return target.getvalue()


if __name__ == "__main__":
    what = sys.argv[1:]
    if what == ["runtime"]:
        (ROOT / "runtime.txt").write_text(runtime_text())
    elif what == ["contract"]:
        (ROOT / "dvc.yaml").write_text(contract_text())
    else:
        sys.exit(__doc__)

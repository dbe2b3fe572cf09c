"""What dvc.yaml says of a stage and what the code says, read without importing the code."""

from __future__ import annotations

import ast
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"In": "in", "Out": "out", "Runtime": "runtime", "Journal": "journal", "Page": "page"}


@dataclass(frozen=True)
class Declared:
    """A stage of dvc.yaml; ``${…}`` filled from params.yaml."""

    name: str
    module: str
    options: dict[str, str]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    entry: dict[str, Any]

    @property
    def code_deps(self) -> tuple[str, ...]:
        return tuple(dep for dep in self.deps if dep.endswith(".py"))

    @property
    def data_deps(self) -> tuple[str, ...]:
        return tuple(dep for dep in self.deps if not dep.endswith(".py"))


def stage_modules() -> list[str]:
    return sorted(p.stem for p in (ROOT / "stages").glob("*.py") if p.stem != "__init__")


def declared() -> dict[str, Declared]:
    yaml = YAML(typ="safe")
    document = yaml.load((ROOT / "dvc.yaml").read_text())
    location = yaml.load((ROOT / "params.yaml").read_text())["download"]["location"]
    return {name: _declared(name, entry, location) for name, entry in document["stages"].items()}


def _declared(name: str, entry: dict[str, Any], location: str) -> Declared:
    def fill(text: str) -> str:
        return text.replace("${download.location}", location)

    words = shlex.split(fill(entry["cmd"]))
    assert words[:2] == ["python", "-m"], f"{name}: cmd must start with `python -m`"
    pairs = dict(zip(words[3::2], words[4::2], strict=True))
    outs: list[str] = []
    for kind in ("outs", "metrics", "plots"):
        outs += [out if isinstance(out, str) else next(iter(out)) for out in entry.get(kind, [])]
    return Declared(
        name=name,
        module=words[2],
        options={key.removeprefix("--").replace("-", "_"): value for key, value in pairs.items()},
        deps=tuple(fill(dep) for dep in entry["deps"]),
        outs=tuple(outs),
        params=tuple(entry.get("params", [])),
        entry=entry,
    )


def main_arguments(stage: str) -> dict[str, str]:
    """Argument of the stage's ``main`` to the name of its annotation."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            arguments = [*node.args.args, *node.args.kwonlyargs]
            return {
                a.arg: ast.unparse(a.annotation).rpartition(".")[2]
                for a in arguments
                if a.annotation
            }
    raise AssertionError(f"stages/{stage}.py has no main")


def code_dependencies(stage: str) -> list[str]:
    """First-party files that ``stages/STAGE.py`` imports, however deep, itself included.

    Packages whose ``__init__`` holds nothing but a docstring are left out: they decide nothing.
    """
    found: set[Path] = set()
    waiting = [ROOT / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting.extend(_imports(file))
    kept = [f for f in found if not (f.name == "__init__.py" and _only_docstring(f))]
    return sorted(f.relative_to(ROOT).as_posix() for f in kept)


def _only_docstring(file: Path) -> bool:
    body = ast.parse(file.read_text()).body
    return all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in body)


def _imports(file: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    files: list[Path] = []
    for name in names:
        if name.split(".")[0] != "stages":
            continue
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            base = ROOT.joinpath(*parts[:depth])
            files += [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
    return files

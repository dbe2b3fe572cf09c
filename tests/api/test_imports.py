"""`import headstart` imports nothing; each name is loaded when it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import headstart
from tests.conftest import ROOT


def loaded(code: str) -> set[str]:
    """The top-level packages that are imported after ``code``."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_alone_is_imported() -> None:
    assert loaded("import headstart; dir(headstart); headstart.__all__") <= {
        *loaded(""),
        "headstart",
    }


@pytest.mark.parametrize("name", headstart.__all__)
def test_no_name_imports_tensorflow_dvc_or_prefect(name: str) -> None:
    found = loaded(f"from headstart import {name}")
    assert not found & {"tensorflow", "keras", "dvc", "prefect", "ai_edge_litert", "fastapi"}


def test_names_are_found_and_others_are_not() -> None:
    assert set(headstart.__all__) < set(dir(headstart))
    assert headstart.__version__ == version("headstart")
    with pytest.raises(AttributeError, match="no attribute 'Extractor'"):
        headstart.Extractor  # type: ignore[attr-defined]  # noqa: B018
    stub = (ROOT / "headstart" / "__init__.pyi").read_text()
    assert all(f"import {name} as {name}" in stub for name in headstart.__all__)

"""Cheap commands stay cheap: what does not need TensorFlow never imports it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tools.contract import stage_modules

HEAVY = ("tensorflow", "keras", "prefect", "dvc", "sklearn", "scipy", "matplotlib")

SCRIPT = """
import runpy, sys
sys.argv = [{module!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert end.code in (0, None), end.code
print("LOADED", sorted(set(m.split(".")[0] for m in sys.modules) & set({heavy!r})))
"""


def loaded_by_help(module: str) -> str:
    code = SCRIPT.format(module=module, heavy=HEAVY)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize("stage", stage_modules())
def test_the_help_of_a_stage_imports_nothing_heavy(stage: str) -> None:
    assert loaded_by_help(f"stages.{stage}") == "LOADED []"


def test_the_help_of_the_command_imports_nothing_heavy() -> None:
    assert loaded_by_help("headstart") == "LOADED []"


def test_who_may_import_whom() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr

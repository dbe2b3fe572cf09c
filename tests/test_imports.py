"""Cheap commands stay cheap, and every import is of a package that is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tools import contract

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


@pytest.mark.parametrize("stage", sorted(contract.declared()))
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


OURS = {"headstart", "stages", "flows"}
#: Imported by a script that runs in an environment of its own (headstart.keras.importing.presets).
ELSEWHERE = {"keras_hub"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@cache
def declared() -> dict[str, Requirement]:
    """Return the requirements of pyproject.toml and its extras for users, by name."""
    return {**needed_by_a_run(), **requirements(*(set(extras()) - {"dev"}))}


def needed_by_a_run() -> dict[str, Requirement]:
    """Return the requirements that `make run` installs, which serves models, too."""
    return {**named(PROJECT["dependencies"]), **requirements("serving")}


def requirements(*names: str) -> dict[str, Requirement]:
    return {key: each for name in names for key, each in named(extras()[name]).items()}


def named(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = PROJECT["optional-dependencies"]
    return found


def third_party() -> list[str]:
    """Return the top-level packages that the library, stages and flows import."""
    found = set()
    for top in OURS:
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(str(node.module).partition(".")[0])
    return sorted(found - sys.stdlib_module_names - OURS - ELSEWHERE)


@pytest.mark.parametrize("package", third_party())
def test_what_is_imported_is_declared(package: str) -> None:
    owners = {canonicalize_name(name) for name in metadata.packages_distributions()[package]}
    assert owners & declared().keys(), f"{package}: add one of {owners} to pyproject.toml"


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package in a lock."""
    text = (ROOT / lock).read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", sorted({**declared(), **requirements("dev")}))
def test_the_lock_for_developers_has_everything_that_is_declared(name: str) -> None:
    wanted = {**declared(), **requirements("dev")}[name]
    assert wanted.specifier.contains(pins("requirements-dev.lock")[name]), "run `make lock`"


@pytest.mark.parametrize("name", sorted(needed_by_a_run()))
def test_the_lock_has_what_a_run_needs(name: str) -> None:
    assert needed_by_a_run()[name].specifier.contains(pins("requirements.lock")[name])


def test_the_locks_agree() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.parametrize("name", sorted(declared().keys() - needed_by_a_run().keys()))
def test_the_lock_of_a_run_holds_no_extra(name: str) -> None:
    assert name not in pins("requirements.lock")

"""dvc.lock was made with the code and the parameters beside which it is committed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tools.contract import declared

AGAIN = "run `make run`, and commit dvc.lock with the metrics"
LOCK = YAML(typ="safe").load((ROOT / "dvc.lock").read_text())["stages"]
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def md5(path: Path) -> str:
    """Return the hash that DVC records: of a folder, that of a list of its files and ``.dir``."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324 - DVC's own
    files = {file.relative_to(path) for file in path.rglob("*") if file.is_file()}
    names = sorted(file.as_posix() for file in files if "__pycache__" not in file.parts)
    entries = [{"md5": md5(path / name), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"  # noqa: S324 - as above


def test_every_stage_is_recorded() -> None:
    assert set(LOCK) == set(declared()), AGAIN


@pytest.mark.parametrize("name", sorted(LOCK))
def test_the_code_is_the_code_that_ran(name: str) -> None:
    recorded = {dep["path"]: dep["md5"] for dep in LOCK[name]["deps"]}
    for path in (*declared()[name].code_deps, "runtime.txt"):
        if path in declared()[name].deps:
            assert recorded[path] == md5(ROOT / path), f"{path}: {AGAIN}"


@pytest.mark.parametrize("name", sorted(LOCK))
def test_the_parameters_are_those_that_it_ran_with(name: str) -> None:
    for key, recorded in LOCK[name].get("params", {}).get("params.yaml", {}).items():
        value: Any = PARAMS
        for part in key.split("."):
            value = value[part]
        assert value == recorded, f"{key}: {AGAIN}"


def test_the_metrics_are_those_of_the_lock() -> None:
    for stage in LOCK.values():
        for out in stage["outs"]:
            if out["path"].startswith("data/metrics/"):
                assert out["md5"] == md5(ROOT / out["path"]), f"{out['path']}: {AGAIN}"

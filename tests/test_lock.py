"""dvc.lock was made by the code and the parameters that it is committed with."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tools.contract import declared

AGAIN = "run `make run`, and commit dvc.lock with the metrics"
LOCK = YAML(typ="safe").load((ROOT / "dvc.lock").read_text())["stages"]
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def test_every_stage_is_recorded() -> None:
    assert set(LOCK) == set(declared()), AGAIN


@pytest.mark.parametrize("name", sorted(LOCK))
def test_the_code_is_the_code_that_ran(name: str) -> None:
    recorded = {dep["path"]: dep["md5"] for dep in LOCK[name]["deps"]}
    for path in (*declared()[name].code_deps, "runtime.txt"):
        if path in declared()[name].deps:
            assert recorded[path] == hashlib.md5((ROOT / path).read_bytes()).hexdigest(), (  # noqa: S324 - DVC's own
                f"{path}: {AGAIN}"
            )


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
                content = (ROOT / out["path"]).read_bytes()
                assert out["md5"] == hashlib.md5(content).hexdigest(), f"{out['path']}: {AGAIN}"  # noqa: S324 - as above

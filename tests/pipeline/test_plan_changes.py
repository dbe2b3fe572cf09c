from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.pipeline import graph as dag
from headstart.pipeline.plan import Changes, Fate, ParamChange, changes, plan
from tests.runs.projects import dvc


def fates(folder: Path) -> dict[str, str]:
    planned = plan(dag.stages(folder), changes(folder))
    return {entry.stage.name: entry.fate.name for entry in planned}


def test_what_has_run_is_clean(graph: Path) -> None:
    found = changes(graph)
    assert all(change == Changes() for change in found.values())
    assert set(fates(graph).values()) == {"UNCHANGED"}


def test_changed_parameters_are_named_leaf_by_leaf_with_both_values(graph: Path) -> None:
    (graph / "params.yaml").write_text("seed: 1\nsection:\n  share: 0.2\n  other: null\n")
    change = changes(graph)["first"]
    assert change == Changes(
        params=(
            ParamChange("section.share", "0.1", "0.2"),
            ParamChange("section.other", None, "null"),
            ParamChange("section.name", "a", None),
        ),
        in_cache=True,
    )
    assert fates(graph) == {
        "first": Fate.RUN.name,
        "second": Fate.MAY.name,
        "each@red": Fate.UNCHANGED.name,
        "each@blue": Fate.UNCHANGED.name,
        "grid@small": Fate.MAY.name,
        "grid@big": Fate.MAY.name,
    }


def test_a_changed_command_is_reported(graph: Path) -> None:
    text = (graph / "dvc.yaml").read_text()
    (graph / "dvc.yaml").write_text(text.replace("first.txt second.txt", "./first.txt second.txt"))
    assert changes(graph)["second"].command
    assert fates(graph)["second"] == "RUN"


def test_a_stage_that_is_planned_to_be_restored_is_restored(
    graph: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(graph)
    (graph / "raw.txt").write_text("others")
    assert fates(graph)["first"] == "RUN"
    dvc(graph, "repro", "-q")
    (graph / "raw.txt").write_text("images")
    for name in ("second.txt", "big.csv"):
        (graph / name).unlink()
    # The run cache keeps metrics as well, which the cache of outputs does not.
    assert fates(graph) == {
        "first": "RESTORE",
        "second": "MAY",
        "each@red": "RESTORE",
        "each@blue": "RESTORE",
        "grid@small": "MAY",
        "grid@big": "MAY",
    }
    assert not any(capsys.readouterr())
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=graph, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "'first' is cached - skipping run" in done.stdout + done.stderr
    assert "Running stage" not in done.stdout + done.stderr


def test_lost_files_are_restored_and_nothing_after_them_runs(graph: Path) -> None:
    for name in ("first.txt", "second.txt"):
        (graph / name).unlink()
    found = fates(graph)
    assert found["first"] == found["second"] == "RESTORE"
    assert found["grid@small"] == "UNCHANGED"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=graph, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "Running stage" not in done.stdout + done.stderr


def test_without_a_cache_lost_files_are_made_again(graph: Path) -> None:
    shutil.rmtree(graph / ".dvc" / "cache")
    (graph / "first.txt").unlink()
    assert fates(graph)["first"] == "RUN"


def test_a_frozen_stage_stands_still(graph: Path) -> None:
    text = (graph / "dvc.yaml").read_text()
    frozen = text.replace("    params: [seed, section]", "    params: [seed]\n    frozen: true")
    (graph / "dvc.yaml").write_text(frozen)
    (graph / "raw.txt").write_text("others")
    assert fates(graph)["first"] == "UNCHANGED"


def test_nothing_is_changed_by_looking(graph: Path) -> None:
    (graph / "raw.txt").write_text("others")
    lock = (graph / "dvc.lock").read_bytes()
    changes(graph)
    assert (graph / "dvc.lock").read_bytes() == lock
    assert changes(graph) == changes(graph)

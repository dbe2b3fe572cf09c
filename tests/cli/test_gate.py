"""The gate: bounds, the last release, and what cannot be tested."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.cli.gate import HELD
from headstart.evaluation.gate import check_scores
from headstart.evaluation.parameters import GateParams
from headstart.pipeline.recipes import overlay
from tests.cli.running import run
from tests.conftest import ROOT
from tests.runs import projects, toy

OPEN: dict[str, Any] = {
    "min_accuracy": None,
    "min_accuracy_low": None,
    "min_macro_f1": None,
    "min_macro_auroc": None,
    "max_loss": None,
    "max_expected_calibration_error": None,
    "not_worse_than_release": False,
    "release_tags": "v*",
    "significance": 0.05,
}
SCORES = {
    "accuracy": 0.9,
    "accuracy_low": 0.85,
    "accuracy_high": 0.94,
    "macro_f1": 0.88,
    "macro_auroc": 0.97,
    "loss": 0.3,
    "expected_calibration_error": 0.02,
}
PIPELINE = """\
stages:
  evaluate:
    cmd: python make.py --metrics metrics.json --predictions predictions.csv
    deps: [answers.txt]
    outs: [predictions.csv]
    metrics: [{metrics.json: {cache: false}}]
"""
# Right about an image where answers.txt has a 1.
MAKE = f"""\
import json
answers = open("answers.txt").read().strip()
rows = ["image_id,path,label,predicted,head_probability_0,head_probability_1"
        ",model_probability_0,model_probability_1"]
for i, answer in enumerate(answers):
    rows.append(f"{{i:064x}},{{i}}.png,a,{{'a' if answer == '1' else 'b'}},1,0,1,0")
open("predictions.csv", "w").write("\\n".join(rows) + "\\n")
scores = {SCORES!r} | {{"accuracy": answers.count("1") / len(answers)}}
json.dump({{"classes": ["a", "b"], "model": scores}}, open("metrics.json", "w"))
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a release, v1: right about 36 of 40 images."""
    project = tmp_path_factory.mktemp("released") / "project"
    project.mkdir()
    (project / "dvc.yaml").write_text(PIPELINE)
    (project / "make.py").write_text(MAKE)
    (project / "answers.txt").write_text("0000" + "1" * 36)
    (project / ".gitignore").write_text("/predictions.csv\n")
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    projects.git(project, "init", "-q", "-b", "main")
    projects.call(project, "dvc", "init", "-q")
    projects.call(project, "dvc", "repro", "-q")
    toy.commit(project, "first")
    projects.git(project, "tag", "v1")
    return project


@pytest.fixture
def project(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The released project with other answers and other values of the gate."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def made(answers: str | None = None, **values: Any) -> Path:
        folder = tmp_path / "project"
        shutil.copytree(released, folder, symlinks=True)
        text = (folder / "params.yaml").read_text()
        (folder / "params.yaml").write_text(overlay(text, {"gate": {**OPEN, **values}}))
        if answers is not None:
            (folder / "answers.txt").write_text(answers)
            projects.call(folder, "python", "make.py")
        monkeypatch.chdir(folder)
        return folder

    return made


@pytest.mark.parametrize(
    ("bound", "value", "passed"),
    [
        ("min_accuracy", 0.9, True),
        ("min_accuracy", 0.91, False),
        ("min_accuracy_low", 0.8, True),
        ("min_accuracy_low", 0.9, False),
        ("min_macro_f1", 0.89, False),
        ("min_macro_auroc", 0.98, False),
        ("max_loss", 0.3, True),
        ("max_loss", 0.2, False),
        ("max_expected_calibration_error", 0.01, False),
    ],
)
def test_a_bound_holds_or_passes(bound: str, value: float, passed: bool) -> None:
    (check,) = check_scores(SCORES, GateParams(**{**OPEN, bound: value}))
    assert check.passed == passed
    assert f"{value:g}" in check.bound


def test_a_score_that_is_not_there_does_not_pass() -> None:
    (check,) = check_scores({}, GateParams(**{**OPEN, "min_accuracy": 0.0}))
    assert not check.passed
    assert check.value == "unknown"


def test_nothing_is_required_by_default(project: Callable[..., Path]) -> None:
    project()
    assert run("gate").startswith("Passed: the section `gate` of params.yaml sets no threshold")


def test_a_failed_bound_holds_and_all_are_shown(project: Callable[..., Path]) -> None:
    project(min_accuracy=0.95, max_loss=0.5)
    said = run("gate", code=HELD)
    assert "accuracy  0.9000   ≥ 0.95  HELD" in said
    assert "loss      0.3000    ≤ 0.5  passed" in said
    assert "Held: accuracy. `headstart run` does not export" in said


def test_bounds_that_are_met_pass(project: Callable[..., Path]) -> None:
    project(min_accuracy=0.9)
    assert run("gate").endswith("Passed.\n")


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ("0000" + "1" * 36, 0, "only v1 is correct on 0, and only workspace on 0"),
        # One in 32: enough.
        ("0000" + "0" * 5 + "1" * 31, HELD, "only v1 is correct on 5"),
        # One in 16: no proof.
        ("0000" + "0" * 4 + "1" * 32, 0, "losses or more is 0.0625"),
        ("1" * 40, 0, "only workspace on 4"),
    ],
)
def test_a_model_is_held_if_it_is_significantly_worse_than_the_release(
    project: Callable[..., Path], answers: str, code: int, said: str
) -> None:
    project(answers, not_worse_than_release=True)
    output = run("gate", code=code)
    assert "On the 40 images that both were tested on" in output
    assert said in output
    assert "not worse than the last release" in output


def test_without_a_release_the_gate_passes(project: Callable[..., Path]) -> None:
    project(not_worse_than_release=True, release_tags="release-*")
    said = run("gate")
    assert "There is no release yet: no tag 'release-*'" in said
    assert said.endswith("Passed.\n")


def test_a_tag_that_is_not_behind_the_commit_is_no_release(project: Callable[..., Path]) -> None:
    folder = project(not_worse_than_release=True)
    projects.git(folder, "checkout", "-q", "--orphan", "elsewhere")
    toy.commit(folder, "another history")
    assert "There is no release yet" in run("gate")


def test_a_release_with_missing_predictions_holds(project: Callable[..., Path]) -> None:
    folder = project(not_worse_than_release=True)
    shutil.rmtree(folder / ".dvc/cache")
    said = run("gate", code=HELD)
    assert "predictions.csv of v1 is neither in DVC's cache nor in the remote" in said
    assert "untested" in said


def test_no_image_in_common_holds(project: Callable[..., Path]) -> None:
    folder = project(not_worse_than_release=True)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").unlink()
    (folder / "predictions.csv").write_text(text.replace("0" * 62, "f" * 62))
    assert "tested on different images (40 and 40, none in common)" in run("gate", code=HELD)


def test_a_shallow_clone_cannot_say_which_release_came_last(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(not_worse_than_release=True)
    toy.commit(folder, "asks for a release")
    shallow = tmp_path / "shallow"
    projects.git(tmp_path, "clone", "-q", "--depth=1", f"file://{folder}", str(shallow))
    shutil.copy(folder / "predictions.csv", shallow)
    monkeypatch.chdir(shallow)
    assert "This clone is shallow" in run("gate", code=1)


def test_it_needs_a_run(project: Callable[..., Path]) -> None:
    folder = project(min_accuracy=0.5)
    (folder / "metrics.json").unlink()
    assert "Run the pipeline first" in run("gate", code=1)
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 1}))
    assert "it is in another format" in run("gate", code=1)


def test_the_pipeline_asks_it_before_the_export() -> None:
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    asked = {
        name: entry["meta"]["gate"] for name, entry in stages.items() if "gate" in entry["meta"]
    }
    assert asked == {"export": "python -m headstart gate"}
    assert [name for name, entry in stages.items() if entry["meta"].get("source")] == ["download"]

"""Runs side by side: commits and the folder, with their predictions or without."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.cli import running
from tests.cli.test_gate import MAKE, PIPELINE
from tests.runs import projects, toy

run = partial(running.run, "compare")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits: one without a run, `worse` (30 of 40) and `better` (39 of 40)."""
    project = tmp_path_factory.mktemp("made") / "project"
    project.mkdir()
    projects.git(project, "init", "-q", "-b", "main")
    (project / "README.md").write_text("A project\n")
    toy.commit(project, "empty")
    projects.call(project, "dvc", "init", "-q")
    (project / "dvc.yaml").write_text(PIPELINE)
    (project / "make.py").write_text(MAKE)
    (project / ".gitignore").write_text("/predictions.csv\n")
    for name, answers, rate in (
        ("worse", "0" * 10 + "1" * 30, "0.1"),
        ("better", "1" * 39 + "0", "0.01"),
    ):
        (project / "answers.txt").write_text(answers)
        (project / "params.yaml").write_text(f"train:\n  rate: {rate}\n  hidden: []\nseed: 1\n")
        projects.call(project, "dvc", "repro", "-q")
        toy.commit(project, name)
        projects.git(project, "tag", name)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def test_two_commits_side_by_side(project: Path) -> None:
    before = toy.state(project)
    said = run("worse", "better")
    assert toy.state(project) == before
    assert "model.accuracy                     0.75   0.975" in said
    assert "train.rate                0.1    0.01" in said
    assert "seed" not in said
    # 1 against 10: 2 * (1 + 11) / 2048.
    assert (
        "On the 40 images that both were tested on, only worse is correct on 1, and "
        "only better on 10: better is better (McNemar's exact test, p = 0.012)." in said
    )


def test_a_single_commit_is_compared_with_the_folder(project: Path) -> None:
    said = run("better")
    assert "workspace" in said
    assert "The parameters are the same." in said
    assert "neither is better" in said


def test_the_folder_as_it_is_and_images_of_one_test_set_alone(project: Path) -> None:
    (project / "answers.txt").write_text("1" * 36)
    projects.call(project, "python", "make.py")
    said = run("worse", "workspace", "better")
    assert "On the 36 images that both were tested on (4 more are in one test set only" in said
    assert said.count("McNemar") == 2


def test_a_round_of_corrections_is_shown_and_both_are_judged_by_its_labels(project: Path) -> None:
    """`worse` was wrong about the first 10 images; 4 of them are relabeled to what it predicted."""
    text = (project / "dvc.yaml").read_text()
    split = "stages:\n  split:\n    cmd: python split.py --metrics split.json\n"
    (project / "dvc.yaml").write_text(text.replace("stages:\n", split))
    corrections = {"keep": 1, "remove": 0, "relabel": {"train": 7, "test": 4}}
    (project / "split.json").write_text(json.dumps({"corrections": corrections}))
    table = project / "predictions.csv"
    rows = table.read_text().splitlines()
    rows[1:5] = [row.replace(".png,a,a,", ".png,b,b,") for row in rows[1:5]]
    table.write_text("\n".join(rows) + "\n")
    said = run("worse")
    (heading,) = (line for line in said.splitlines() if line.startswith("corrections"))
    assert heading.split() == ["corrections", "worse", "workspace"]
    assert {"keep 0 1", "relabel.train 0 7", "relabel.test 0 4"} <= {
        " ".join(line.split()) for line in said.splitlines()
    }
    assert "remove" not in said
    assert (
        "On the 40 images that both were tested on, with the labels of workspace, only worse is "
        "correct on 1, and only workspace on 6: the difference may well be chance" in said
    )
    assert "4 of them have another label in worse; without, the counts are 1 and 6" in said
    (pair,) = json.loads(run("worse", "--json"))["pairs"]
    assert pair["paired"]["relabeled"] == 4


def test_json_for_a_program(project: Path) -> None:
    found = json.loads(run("worse", "better", "--json"))
    assert [one["name"] for one in found["revisions"]] == ["worse", "better"]
    assert found["revisions"][0]["parameters"]["train"] == {"rate": 0.1, "hidden": []}
    (pair,) = found["pairs"]
    assert pair["paired"]["shared"] == 40
    assert (pair["paired"]["first_only"], pair["paired"]["second_only"]) == (1, 10)
    assert pair["paired"]["test"]["p"] == 24 / 2048
    assert "better is better" in pair["summary"]


def test_missing_predictions_are_reported_below_the_tables(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    (project / "predictions.csv").unlink()
    said = run("worse", "workspace")
    assert "model.accuracy" in said
    assert "worse and workspace cannot be compared image by image: predictions.csv of" in said
    assert "there is no predictions.csv (`dvc checkout`" in said


@pytest.mark.parametrize(
    ("rev", "words"),
    [
        ("nothing", "There is no commit 'nothing'"),
        ("HEAD~2", "There is no DVC pipeline in commit"),
    ],
)
def test_a_revision_without_scores_is_an_error(project: Path, rev: str, words: str) -> None:
    said = run("better", rev, code=1)
    assert words in said
    assert "Traceback" not in said


def test_an_evaluation_without_paths_is_an_error(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages:\n  evaluate:\n    cmd: python make.py\n")
    toy.commit(project, "other")
    said = run("HEAD", "better", code=1)
    assert "`evaluate` in dvc.yaml of HEAD is not called with --metrics" in said


def test_metrics_outside_of_git_are_an_error(project: Path) -> None:
    projects.git(project, "rm", "-q", "--cached", "metrics.json")
    projects.git(project, "commit", "-q", "-m", "without")
    assert "has no metrics.json, so there is nothing to compare" in run("HEAD", "better", code=1)

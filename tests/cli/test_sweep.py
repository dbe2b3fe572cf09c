"""`headstart sweep`: the table, what is written, and the exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.files import sha256_tree
from headstart.cli import sweep as command
from headstart.pipeline import experiments
from headstart.stage.parameters import read_params
from tests.cli import running
from tests.conftest import ROOT
from tests.runs import projects
from tests.stages.recorded import params, separable

run = partial(running.run, "sweep", "--processes", "1")
SETS = ("--set", "train_head.epochs=2,3", "--set", "train_head.hidden=[],[4]")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose features are extracted."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    made = separable(tmp_path / "made")
    shutil.copytree(made.features, folder / "data/features")
    shutil.copy(ROOT / "dvc.yaml", folder)
    params(folder / "params.yaml", train_head__epochs=2)
    projects.call(folder, "dvc", "init", "-q", "--no-scm")
    monkeypatch.chdir(folder)
    return folder


def answer(*words: str) -> dict[str, Any]:
    said = run(*words, "--json")
    found: dict[str, Any] = json.loads(said[said.index("{") : said.rindex("}") + 1])
    return found


def test_heads_are_trained_once_and_nothing_changes(project: Path) -> None:
    before = sha256_tree(project)
    found = answer(*SETS)
    assert (found["trials"], found["recorded"], found["passes"]) == (4, 0, 0)
    heads = found["heads"]
    assert [each["correct"] for each in heads] == sorted(
        (each["correct"] for each in heads), reverse=True
    )
    assert {} in [each["changes"] for each in heads]
    assert 0.9 < found["estimate"]["accuracy"] <= 1
    again = answer(*SETS)
    assert again["recorded"] == 4
    assert again["heads"] == heads
    assert again["estimate"] == found["estimate"]
    assert sha256_tree(project) == before


def test_the_table_shows_the_best_and_the_present_head(project: Path) -> None:
    said = run(*SETS, "--top", "1")
    assert "as in params.yaml" in said
    assert "4 heads: 4 trained now, 0 recorded before" in said
    assert "0 forward passes" in said
    assert "No test image was used." in said


def test_the_best_head_is_written(project: Path) -> None:
    # One step from zero on the present head, so that another one is better.
    params(project / "params.yaml", train_head__epochs=1, train_head__steps_per_epoch=1,
           train_head__batch_size=1)  # fmt: skip
    said = run("--set", "train_head.steps_per_epoch=30", "--set", "train_head.batch_size=16",
               "--write")  # fmt: skip
    assert "train_head.steps_per_epoch: 1 -> 30" in said
    assert "Next: `dvc repro`." in said
    written = read_params(project / "params.yaml").train_head
    assert (written.steps_per_epoch, written.batch_size) == (30, 16)


def test_the_best_heads_are_kept_each_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr("headstart.cli.front.require_project", lambda *_, **__: None)
    monkeypatch.setattr(experiments, "names", lambda _: set(kept))

    def keep(root: Path, name: str, changes: Any, first: str) -> None:
        kept[name] = (dict(changes), first)

    monkeypatch.setattr(experiments, "keep", keep)
    said = run(*SETS, "--keep", "4")
    assert len(kept) == 3
    assert said.count("dvc exp apply sweep-") == 3
    assert "no experiment" in said
    assert {first for _, first in kept.values()} == {"train_head"}
    assert "is kept already" in run(*SETS, "--keep", "4")


def test_a_sampler_proposes_heads(project: Path) -> None:
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    before = sha256_tree(project)
    words = ("--sampler", "tpe", "--set", "train_head.learning_rate=0.001..0.1")
    found = answer(*words, "--trials", "9")
    assert (found["trials"], found["recorded"], found["sampler"]) == (10, 0, "tpe")
    images = found["images"]
    assert found["estimate"]["images"] == images - images // 2
    said = run(*words, "--trials", "9")
    assert "10 heads: 0 trained now, 10 recorded before" in said
    assert f"The sampler has seen {images // 2} of the validation images" in said
    assert sha256_tree(project) == before


def test_errors_of_a_sampler(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`--sampler tpe --trials 50`" in run("--sampler", "tpe", code=2)
    assert "--sampler" in run("--sampler", "random", code=2)
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = run("--sampler", "tpe", "--trials", "3", code=1)
    assert "`--sampler tpe` needs the extra `optuna`" in said
    assert "Nothing was trained." in said


def test_a_grid_imports_no_optuna(project: Path) -> None:
    code = (
        "import sys; from headstart.cli.app import app\n"
        "try: app()\n"
        "finally: print('optuna' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", *SETS, "--processes", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "False"


def test_errors(project: Path) -> None:
    assert "Did you mean `train_head.dropout`?" in run("--set", "train_head.droput=1", code=2)
    assert "the views that are cached" in run("--set", "extract_features.views=1", code=2)
    said = run("--set", "train_head.outputs=one", "--set", "train_head.activation=sigmoid", code=1)
    assert "`train_head.outputs: one` distinguishes two classes, and there are 3" in said
    params(project / "params.yaml", train_head__learning_rate=1e30, train_head__optimizer="sgd")
    said = run("--set", "train_head.batch_size=16", code=1)
    assert "No head could be trained" in said
    shutil.rmtree(project / "data/features")
    assert "There is no data/features yet" in run(code=1)


def test_an_interrupted_sweep_says_that_it_resumes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.selection.sweep.sweep", interrupted)
    assert "the same command resumes" in run(*SETS, code=command.INTERRUPTED)

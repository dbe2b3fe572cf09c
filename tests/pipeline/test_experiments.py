"""Parameters that become experiments of DVC."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart.pipeline import experiments
from tests.runs import projects

PIPELINE = """\
stages:
  before:
    cmd: cp raw/data.txt data.txt
    deps: [raw]
    outs: [data.txt]
  train:
    cmd: cp params.yaml copy.yaml
    deps: [data.txt]
    params: [head]
    outs: [copy.yaml: {cache: false}]
  beside:
    cmd: cp data.txt beside.txt
    deps: [data.txt]
    outs: [beside.txt]
  after:
    cmd: cat copy.yaml beside.txt > after.txt
    deps: [copy.yaml, beside.txt]
    outs: [after.txt]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has run, whose source git and DVC do not know."""
    folder = tmp_path / "project"
    (folder / "raw").mkdir(parents=True)
    (folder / "raw/data.txt").write_text("data")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("head: {hidden: [], patience: 3, rate: 0.1}\n")
    (folder / ".gitignore").write_text("/raw\n/*.txt\n")
    projects.git(folder, "init", "-q")
    projects.dvc(folder, "init", "-q")
    projects.dvc(folder, "repro", "-q")
    projects.git(folder, "add", "--all")
    projects.git(folder, "commit", "-q", "-m", "run")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.org")
    return folder


def test_an_experiment_has_the_values_and_leaves_the_folder_alone(project: Path) -> None:
    assert experiments.names(project) == set()
    changes = {"head.hidden": [128, 64], "head.patience": None, "head.rate": 0.001}
    experiments.keep(project, "sweep-1", changes, "train")
    assert experiments.names(project) == {"sweep-1"}
    assert projects.git(project, "status", "--porcelain") == ""
    projects.dvc(project, "exp", "apply", "sweep-1")
    written = (project / "copy.yaml").read_text()
    for text in ("128", "64", "0.001"):
        assert text in written
    assert "0.1\n" not in written
    # A stage after it that also reads what a stage beside it made.
    assert (project / "after.txt").read_text() == written + "data"
    with pytest.raises(HeadstartError, match=r"exp run --temp --name=sweep-2(?s:.*)nowhere"):
        experiments.keep(project, "sweep-2", {"head.rate": 1.0}, "nowhere")

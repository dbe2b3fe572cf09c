"""A project's own flows, loaded wherever the library is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart.runs.project_flows import project_flow
from tests.conftest import ROOT

FLOW = """
from prefect import flow

from own_helper import WORD


@flow
def pipeline(root=None, gate=True, commit=False, push=False):
    return WORD
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/pipeline.py").write_text(FLOW)
    (tmp_path / "own_helper.py").write_text("WORD = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_the_projects_flow_wins_over_a_package_of_that_name(project: Path) -> None:
    import flows.pipeline as ours

    found = project_flow(project, "pipeline")
    assert found.fn() == "mine"
    assert ours.pipeline is not found
    assert sys.path[-1] == str(project)
    assert sys.path.count(str(project)) == 1


def test_outside_of_the_library_and_without_the_current_folder_on_the_path(project: Path) -> None:
    code = (
        "from pathlib import Path; from headstart.runs.project_flows import project_flow; "
        "print(project_flow(Path.cwd(), 'pipeline').fn())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=project, capture_output=True, text=True,
        check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == "mine"


def test_a_missing_flow_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"has no flows/pipeline\.py.*Nothing was run"):
        project_flow(tmp_path, "pipeline")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("other = 1", "MissingFlowError"),
        ("pipeline = 1", "MissingFlowError"),
    ],
)
def test_a_broken_flow_is_reported(project: Path, text: str, words: str) -> None:
    (project / "flows/pipeline.py").write_text(text)
    with pytest.raises(HeadstartError, match=words):
        project_flow(project, "pipeline")

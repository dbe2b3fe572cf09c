"""The flow of a reproduction, against a real (temporary) server: its state and its artifact."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.states import Cancelling

from flows.reproduce import reproduce
from headstart.runs.reproduction import ARTIFACT
from tests.flows.conftest import WITH_SERVER
from tests.runs import projects, toy
from tests.runs.server import until

pytestmark = WITH_SERVER


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    shutil.copytree(made, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def run(project: Path, **parameters: Any) -> State[Any]:
    found: Any = reproduce(root=str(project), return_state=True, **parameters)
    assert isinstance(found, State)
    return found


def artifacts() -> list[Any]:
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[ARTIFACT]))
    with get_client(sync_client=True) as client:
        return list(client.read_artifacts(artifact_filter=wanted))


def test_the_verdict_is_the_state_and_the_certificate_an_artifact(project: Path) -> None:
    state = run(project)
    assert state.is_completed()
    assert "bit-exact (5 output files: 5 bit-exact)" in str(state.message)
    page = artifacts()[-1].data
    sha = projects.git(project, "rev-parse", "HEAD").strip()
    assert page == (project / f"data/certificates/{sha[:12]}/certificate.md").read_text()
    assert page.startswith(f"# bit-exact: commit {sha[:12]}")


def test_a_worse_verdict_fails_the_flow_and_names_what_differs(project: Path) -> None:
    state = run(project, changed=["noise=0.1"])
    assert state.is_failed()
    assert "metric-equal, where bit-exact was required" in str(state.message)
    assert "weights.csv" in str(state.message)
    assert run(project, changed=["noise=0.1"], require="metric-equal").is_completed()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"rev": "nothing"}, "There is no commit 'nothing'"),
        ({"require": "same"}, "`require` must be one of bit-exact, numerically-equal"),
    ],
)
def test_no_verdict_fails_with_the_reason(
    project: Path, parameters: dict[str, Any], said: str
) -> None:
    state = run(project, **parameters)
    assert state.is_failed()
    assert said in str(state.message)


def test_recorded_features_can_be_used(project: Path) -> None:
    assert run(project, warm=True).is_completed()


def test_cancelled_in_prefect_it_ends_its_stage_and_removes_the_copy(
    project: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    (project / "stages/train.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)\n"
    )
    toy.commit(project, "takes long")

    def cancel() -> None:
        until(begun.exists, 120, "the stage begins")
        with get_client(sync_client=True) as client:
            (last,) = [r for r in client.read_flow_runs() if r.state and r.state.is_running()]
            client.set_flow_run_state(last.id, Cancelling(), force=True)

    thread = threading.Thread(target=copy_context().run, args=(cancel,))
    thread.start()
    state = run(project)
    thread.join()
    assert state.is_cancelled()
    assert list((tmp_path / "tmp").glob("headstart-reproduce-*")) == []

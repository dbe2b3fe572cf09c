"""The flow, against a real (temporary) server: DVC's graph as tasks, and every way that it ends."""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, State, TaskRun
from prefect.states import Cancelling

from flows.pipeline import pipeline
from headstart.pipeline import lockfile
from headstart.runs import pipeline_run, stage_tasks
from headstart.runs.pipeline_run import Run, watching
from headstart.runs.run_stage import Outcome
from tests.runs import projects
from tests.runs.server import until

# What Prefect and its temporary server leave open, and what they use that is about to go.
pytestmark = [
    pytest.mark.usefixtures("server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

GRAPH = """
stages:
  slow:
    # In a flow, it ends after the stage beside it; alone, it waits for nobody.
    cmd: >-
      if [ -n "$HEADSTART_RUN" ]; then
      until grep -q fast.txt dvc.lock; do sleep 0.05; done; fi;
      echo a > slow.txt
    outs: [slow.txt]
  fast:
    cmd: echo b > fast.txt && echo "made by $HEADSTART_RUN"
    desc: The quick one
    outs: [fast.txt]
  each:
    foreach: [red, blue]
    do:
      cmd: cat slow.txt fast.txt > ${item}.txt
      deps: [slow.txt, fast.txt]
      outs: ["${item}.txt"]
  grid:
    matrix:
      net: [small]
    cmd: cat red.txt > ${item.net}.txt
    deps: [red.txt]
    outs: ["${item.net}.txt"]
"""
NAMES = ["slow", "fast", "each@red", "each@blue", "grid@small"]


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blank") / "project"
    folder.mkdir()
    projects.git(folder, "init", "--quiet", "--initial-branch=main")
    projects.dvc(folder, "init", "--quiet")
    projects.dvc(folder, "config", "core.analytics", "false")
    return folder


@pytest.fixture
def project(blank: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a project of a dvc.yaml."""

    def make(text: str) -> Path:
        folder = tmp_path / f"project-{len(list(tmp_path.iterdir()))}"
        projects.call(tmp_path, "cp", "-r", str(blank), str(folder))
        (folder / "dvc.yaml").write_text(text)
        return folder

    return make


def go(folder: Path, **options: Any) -> tuple[State[Any], Run]:
    with watching() as runs:
        state: Any = pipeline(str(folder), return_state=True, **options)
    return state, runs[0]


def tasks(run: Run) -> dict[str, TaskRun]:
    """The tasks as the server knows them, once it knows how all of them ended."""
    flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.flow_run.id]))

    def found() -> dict[str, TaskRun]:
        with get_client(sync_client=True) as client:
            listed = {task.name: task for task in client.read_task_runs(flow_run_filter=flow_run)}
        settled = all(
            t.state and t.state.name not in {"Running", "Pending"} for t in listed.values()
        )
        return listed if listed and settled else {}

    return until(found, 60, "the server knows the tasks")


def states(run: Run) -> dict[str, str]:
    return {name: str(task.state.name) for name, task in tasks(run).items() if task.state}


def artifacts(run: Run) -> dict[str, Artifact]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.flow_run.id]))
    with get_client(sync_client=True) as client:
        return {item.key or "": item for item in client.read_artifacts(artifact_filter=chosen)}


def test_the_flow_is_the_graph_and_its_record_is_that_of_dvc(
    project: Callable[[str], Path],
) -> None:
    ours, theirs = project(GRAPH), project(GRAPH)
    state, run = go(ours)
    assert state.is_completed(), state.message
    assert list(run.outcomes) != NAMES  # finished in another order, so
    assert states(run) == dict.fromkeys(NAMES, "Ran")
    projects.dvc(theirs, "repro", "--quiet")
    assert (ours / "dvc.lock").read_bytes() == (theirs / "dvc.lock").read_bytes()
    assert projects.dvc(ours, "status", "--quiet") == ""


def test_what_is_clean_needs_no_process_and_what_is_lost_is_restored(
    project: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(GRAPH)
    go(folder)
    lock = (folder / "dvc.lock").read_bytes()
    (folder / "red.txt").unlink()
    state, run = go(folder)
    assert states(run) == {
        "slow": "Unchanged", "fast": "Unchanged", "each@red": "Restored",
        "each@blue": "Unchanged", "grid@small": "Unchanged",
    }  # fmt: skip
    assert state.message == "5 stages: 1 restored, 4 unchanged."
    monkeypatch.setattr(stage_tasks, "run_stage", None)
    state, run = go(folder)
    assert state.is_completed(), state.message
    assert set(run.outcomes.values()) == {Outcome.UNCHANGED}
    assert (folder / "dvc.lock").read_bytes() == lock


def test_a_new_stage_appears_without_a_line_of_python(project: Callable[[str], Path]) -> None:
    folder = project("stages: {one: {cmd: echo 1 > one.txt, outs: [one.txt]}}")
    assert list(go(folder)[1].outcomes) == ["one"]
    more = "  two:\n    cmd: cat one.txt > two.txt\n    deps: [one.txt]\n    outs: [two.txt]\n"
    (folder / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: echo 1 > one.txt\n    outs: [one.txt]\n" + more
    )
    assert go(folder)[1].outcomes == {"one": Outcome.UNCHANGED, "two": Outcome.RAN}


FAILING = """
stages:
  good:
    cmd: echo a > good.txt
    outs: [good.txt]
  bad:
    cmd: "cat good.txt; echo 'Error: the image is upside down'; exit 3"
    deps: [good.txt]
    outs: [bad.txt]
  after:
    cmd: touch started; cat bad.txt > after.txt
    deps: [bad.txt]
    outs: [after.txt]
  beside:
    cmd: cat good.txt > beside.txt
    deps: [good.txt]
    outs: [beside.txt]
"""


def test_a_failed_stage_fails_the_flow_in_its_own_words(project: Callable[[str], Path]) -> None:
    folder = project(FAILING)
    state, run = go(folder)
    assert state.is_failed()
    assert state.message == "bad: the image is upside down\nNot started: after."
    found = states(run)
    assert found == {"good": "Ran", "bad": "Failed", "beside": "Ran", "after": "NotReady"}
    assert not (folder / "started").exists()
    with pytest.raises(Exception, match="the image is upside down"):
        pipeline(str(folder))


META = """
stages:
  flaky:
    cmd: test -e tried && touch flaky.txt || { touch tried; exit 1; }
    outs: [flaky.txt]
    meta: {retries: 1, retry_delay_s: 0}
  hanging:
    cmd: echo $$ > pid; sleep 600
    outs: [hanging.txt]
    meta: {timeout_s: 5}  # on a busy machine, DVC takes some of them to begin
"""


def test_retries_and_time_limits_are_those_of_the_graph(project: Callable[[str], Path]) -> None:
    folder = project(META)
    state, run = go(folder)
    assert run.outcomes == {"flaky": Outcome.RAN}
    assert "hanging was ended after 5 s" in (state.message or "")
    with pytest.raises(ProcessLookupError):
        os.killpg(os.getpgid(int((folder / "pid").read_text())), 0)


GATED = """
stages:
  model:
    cmd: echo a > model.txt
    outs: [model.txt]
  export:
    cmd: cat model.txt > export.txt
    deps: [model.txt, raw.txt]
    outs: [export.txt]
    meta: {gate: "sh -c 'echo accuracy 0.2; exit $(cat says)'"}
  page:
    cmd: cat export.txt > page.txt
    deps: [export.txt]
    outs: [page.txt]
"""


def test_a_gate_holds_a_stage_back(project: Callable[[str], Path]) -> None:
    folder = project(GATED)

    def asked(answer: int, **options: Any) -> tuple[State[Any], Run]:
        (folder / "says").write_text(str(answer))
        return go(folder, **options)

    (folder / "raw.txt").write_text("a")
    state, run = asked(5)
    assert (state.name, state.type.value) == ("Held", "FAILED")
    assert "accuracy 0.2" in (state.message or "")
    assert states(run) == {"model": "Ran", "export": "Held", "page": "NotReady"}
    state, _ = asked(1)  # broken: no answer at all
    assert state.name == "Failed"
    assert "ended with 1: accuracy 0.2" in (state.message or "")
    assert asked(0)[1].outcomes["export"] == Outcome.RAN
    assert asked(5)[0].is_completed()  # what stands already is not asked for
    (folder / "raw.txt").write_text("b")
    assert asked(5, gate=False)[1].outcomes["export"] == Outcome.RAN


WAITING = """
stages:
  waits:
    cmd: "echo $$ > pid; touch began; until [ -e enough ]; do sleep 0.05; done; echo x > waits.txt"
    outs: [waits.txt]
  after:
    cmd: cat waits.txt > after.txt
    deps: [waits.txt]
    outs: [after.txt]
"""


def when_began(folder: Path, act: Callable[[], object]) -> threading.Thread:
    """Act as soon as the stage has begun, in another thread."""

    def watch() -> None:
        until((folder / "began").exists, 60, "the stage begins")
        act()

    thread = threading.Thread(target=copy_context().run, args=(watch,))
    thread.start()
    return thread


def goes_on(folder: Path) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
    (folder / "enough").touch()
    state, run = go(folder)
    assert state.is_completed(), state.message
    assert run.outcomes == {"waits": Outcome.RAN, "after": Outcome.RAN}


def cancel(run: UUID) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling())


def test_cancelling_ends_the_stage_and_the_next_run_goes_on(
    project: Callable[[str], Path],
) -> None:
    folder = project(WAITING)
    with watching() as runs:
        thread = when_began(folder, lambda: cancel(runs[0].flow_run.id))
        state: Any = pipeline(str(folder), return_state=True)
        thread.join()
    assert state.is_cancelled(), state.message
    assert states(runs[0]) == {"waits": "Cancelled", "after": "NotReady"}
    goes_on(folder)


def test_ctrl_c_ends_the_stage_and_the_next_run_goes_on(project: Callable[[str], Path]) -> None:
    folder = project(WAITING)
    thread = when_began(folder, lambda: os.kill(os.getpid(), signal.SIGINT))
    state, _ = go(folder)
    thread.join()
    assert state.is_cancelled(), state.message
    goes_on(folder)


def test_a_second_run_waits_for_the_first(
    project: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = project("stages: {one: {cmd: echo 1 > one.txt, outs: [one.txt]}}")
    inside = threading.Event()

    def first() -> None:
        with lockfile.exclusive_run(folder, "flow run 'tidy-owl'", print, threading.Event()):
            inside.set()
            until(lambda: "flow run 'tidy-owl'" in caplog.text, 60, "the second run says it waits")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    state, _ = go(folder)
    thread.join()
    assert state.is_completed(), state.message
    assert "Waiting for it to end" in caplog.text


TAMPERED = """
stages:
  makes:
    cmd: echo a > one.txt; echo b > two.txt
    outs: [one.txt, two.txt]
  spoils:
    cmd: echo other > one.txt; cat two.txt > three.txt
    deps: [two.txt]
    outs: [three.txt]
"""


def test_results_that_are_not_as_recorded_fail_the_run(project: Callable[[str], Path]) -> None:
    state, _ = go(project(TAMPERED))
    assert state.is_failed()
    assert "one.txt (modified)" in (state.message or "")


def test_a_folder_without_a_project_is_reported_as_a_failure(tmp_path: Path) -> None:
    state, _ = go(tmp_path)
    assert state.is_failed()
    assert "is not a Headstart project" in (state.message or "")


def test_a_fault_of_ours_is_no_end_from_outside(
    project: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project("stages: {one: {cmd: echo 1 > one.txt, outs: [one.txt]}}")
    monkeypatch.setattr(pipeline_run, "plan", None)
    state, run = go(folder)
    assert state.is_failed()
    assert run.result is not None
    assert run.result.is_failed()
    assert "TypeError" in (run.result.message or "")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SHOWING = """
stages:
  scores:
    cmd: >-
      echo '{"accuracy": 0.9, "classes": [{"label": "a", "f1": 1.0}, {"label": "b", "f1": 0.5}]}'
      > scores.json; mkdir -p figures; cp one.bin figures/grid.png;
      echo '{"seconds": 3}' > run.json;
      echo "Working: 5 of 20 pieces, 1 a second"
    deps: [one.bin]
    outs: [figures]
    metrics: [{scores.json: {cache: false}}]
metrics: [run.json]
"""


def test_scores_images_and_progress_are_shown(project: Callable[[str], Path]) -> None:
    folder = project(SHOWING)
    (folder / "one.bin").write_bytes(PNG)
    state, run = go(folder)
    assert state.is_completed(), state.message
    found = artifacts(run)
    assert set(found) == {
        "scores", "scores-classes", "scores-grid", "scores-progress", "run",
    }  # fmt: skip
    assert '"accuracy"' in str(found["scores"].data)
    assert '"f1": 0.5' in str(found["scores-classes"].data)
    assert found["scores-grid"].type == "image"
    assert base64.b64decode(str(found["scores-grid"].data).partition(",")[2]) == PNG
    assert found["scores-progress"].data == 100
    assert found["scores"].task_run_id == tasks(run)["scores"].id
    assert not artifacts(go(folder)[1])  # nothing new, nothing shown again


def test_a_run_can_commit_what_it_made(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    for name in ("user.name", "user.email"):
        projects.git(folder, "config", name, "somebody")
    state, run = go(folder, commit=True)
    assert state.is_completed(), state.message
    branches = projects.git(folder, "branch", "--all", "--format=%(refname:short)").split()
    assert any(run.flow_run.name in branch for branch in branches)
    (folder / "raw.txt").write_text("changed")
    state, _ = go(folder, commit=True)
    assert state.is_failed()
    assert "raw.txt" in (state.message or "")

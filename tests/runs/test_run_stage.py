"""One stage through DVC: what becomes of it, and what is said."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from headstart.runs.run_stage import Outcome, StageFailedError, StageStoppedError, run_stage
from tests.runs import projects
from tests.runs.server import until

PIPELINE = """
stages:
  first:
    cmd: cp raw.txt first.txt && echo copied
    deps: [raw.txt]
    outs: [first.txt]
  words:
    cmd: "echo before; echo 'Error: no good,' >&2; echo 'in two lines' >&2; exit 3"
    outs: [words.txt]
  mute:
    cmd: echo what there is; exit 4
    outs: [mute.txt]
  forgets:
    cmd: echo made nothing
    outs: [forgets.txt]
  orphan:
    cmd: cp nowhere.txt orphan.txt
    deps: [nowhere.txt]
    outs: [orphan.txt]
  says:
    cmd: "echo \\"$HEADSTART_RUN $PYTHONUNBUFFERED\\"; echo 'ERROR: not of DVC'; touch says.txt"
    outs: [says.txt]
  waits:
    cmd: >-
      touch began; while [ ! -e enough ]; do sleep 0.05; done; echo x > waits.txt
    outs: [waits.txt]
  each:
    foreach: [red, blue]
    do:
      cmd: echo ${item} > ${item}.txt
      outs: ["${item}.txt"]
  python:
    cmd: python -c "import sys; print(sys.executable)" && touch python.txt
    outs: [python.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "raw.txt").write_text("images")
    projects.call(folder, "git", "init", "-q")
    projects.dvc(folder, "init", "-q")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def go(project: Path, stage: str, **options: Any) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    outcome = run_stage(project, stage, on_line=lines.append, **options)
    return outcome, lines


def test_ran_then_unchanged_then_restored(project: Path) -> None:
    outcome, lines = go(project, "first")
    assert outcome == Outcome.RAN
    assert outcome.value == "Ran"
    assert "copied" in lines
    assert not any("git add" in line or "Updating" in line for line in lines)
    assert go(project, "first")[0] == Outcome.UNCHANGED
    (project / "first.txt").unlink()
    assert go(project, "first")[0] == Outcome.RESTORED
    assert (project / "first.txt").read_text() == "images"


def test_a_stage_of_a_foreach(project: Path) -> None:
    assert go(project, "each@blue")[0] == Outcome.RAN
    assert (project / "blue.txt").read_text() == "blue\n"
    assert not (project / "red.txt").exists()


def test_further_options_of_dvc(project: Path) -> None:
    go(project, "first")
    assert go(project, "first", arguments=["--force"])[0] == Outcome.RAN


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("words", "no good,\nin two lines"),
        ("mute", "what there is"),
        ("forgets", "forgets.txt"),
        ("orphan", "nowhere.txt"),
    ],
)
def test_a_failure_has_the_words_of_who_failed(project: Path, stage: str, message: str) -> None:
    with pytest.raises(StageFailedError) as caught:
        go(project, stage)
    assert message in str(caught.value)
    assert "before" not in str(caught.value)


def test_a_stage_gets_variables_and_may_speak_like_dvc(project: Path) -> None:
    outcome, lines = go(project, "says", environment={"HEADSTART_RUN": "a run"})
    assert outcome == Outcome.RAN
    assert "a run 1" in lines
    assert "ERROR: not of DVC" in lines


def test_python_is_ours_whatever_the_path_says(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    _, lines = go(project, "python")
    assert any(Path(line) == Path(sys.executable) for line in lines)


def test_an_exceeded_time_limit_is_reported(project: Path) -> None:
    with pytest.raises(StageFailedError, match=r"waits was ended after 2 s.*timeout_s"):
        go(project, "waits", timeout_s=2)


def test_a_stopped_stage_goes_on_the_next_time(project: Path) -> None:
    stop = threading.Event()

    def end() -> None:
        until((project / "began").exists, 60, "it begins")
        stop.set()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(StageStoppedError):
        go(project, "waits", stop=stop)
    thread.join()
    (project / "enough").touch()
    assert go(project, "waits")[0] == Outcome.RAN


def test_a_stage_that_another_dvc_runs_is_waited_for(project: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "waits"], cwd=project,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if "Waiting for it to end" in line:
            (project / "enough").touch()

    try:
        until((project / "began").exists, 60, "the other one begins")
        assert run_stage(project, "waits", on_line=hear) == Outcome.UNCHANGED
    finally:
        (project / "enough").touch()
        other.wait(60)
    assert f"Process {other.pid} works on the files of waits." in "\n".join(lines)


def test_the_holder_of_the_lock_of_dvc_is_reported(project: Path) -> None:
    lines: list[str] = []
    with (project / ".dvc" / "tmp" / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f" {os.getpid()}\n")
        lock.flush()

        def hear(line: str) -> None:
            lines.append(line)
            if "holds DVC's lock" in line:
                fcntl.flock(lock, fcntl.LOCK_UN)

        assert run_stage(project, "first", on_line=hear) == Outcome.RAN
    assert f"Process {os.getpid()} holds DVC's lock of this project. Waiting for it …" in lines

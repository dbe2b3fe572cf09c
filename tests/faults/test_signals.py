"""SIGINT, SIGTERM and SIGKILL to a stage, to dvc and to a flow: nothing lives on, nothing is lost.

Of the worker and the server of schedules, ``tests/runs/test_server.py`` holds the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from tests.faults import tally
from tests.faults.project import Project, remove
from tools.contract import declared

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
#: The longest of all: it trains.
STAGE = "fine_tune"


def until(true: Callable[[], bool], what: str, seconds: float = 300.0) -> float:
    """Wait, and return for how long; the limit is that of a test that hangs."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"waited {seconds} s until {what}"
        time.sleep(0.005)
    return time.monotonic() - start


def writing(project: Project) -> bool:
    """Return True while some stage has an unfinished output."""
    return any((project.folder / "data").glob("**/.*.part"))


def family(process: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(children: list[psutil.Process], subject: str) -> None:
    """Wait until no process lives, and keep for how long."""
    seconds = until(lambda: not any(map(lives, children)), "the children end", 30)
    tally.outlived[subject] = max(tally.outlived.get(subject, 0), seconds)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
@pytest.mark.parametrize("stage", list(declared()))
def test_a_stage(project: Project, stage: str, number: signal.Signals) -> None:
    project.remove_outputs(stage)
    with project.started(stage) as (process, ended):
        until(lambda: writing(project) or not psutil.pid_exists(process), "it writes")
        children = family(process)
        with suppress(ProcessLookupError):  # It ended in the meantime.
            os.kill(process, number)
        found = ended()
    gone(children, "a stage")
    expected = 130 if number == signal.SIGINT else -number
    # A stage that writes one small file may have ended before.
    assert found.code in {expected, 0}, found.stderr
    assert "Traceback" not in found.stderr, found.stderr
    for path, content in project.hashes(stage).items():
        assert content == project.clean[path], path
    again = project.run(stage)
    assert again.code == 0, again.stderr
    assert project.hashes(stage) == project.wanted(stage)
    assert project.leftovers() == []
    how = "struck" if found.code else "ended_before"
    tally.add("signals to a stage", **{how: 1}, children_ended=len(children))


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
def test_dvc_repro(project: Project, number: signal.Signals) -> None:
    words = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", STAGE]
    with project.start(words) as run:
        strike(project, run, number, "dvc repro")
        assert run.returncode != 0
    clean_again(project)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda each: each.name)
def test_a_flow(project: Project, number: signal.Signals, tmp_path: Path) -> None:
    forget(project)
    kept = {name: value for name, value in project.variables.items() if "PREFECT" not in name}
    words = [str(Path(sys.executable).parent / "headstart"), "run"]
    project.variables, before = {**kept, "PREFECT_HOME": str(tmp_path / "home")}, project.variables
    try:
        with project.start(words) as run:
            strike(project, run, number, "headstart run")
            # SIGTERM interrupts a run as Ctrl-C does, so that it records its end.
            assert run.returncode == (-9 if number == signal.SIGKILL else 130)
    finally:
        project.variables = before
    clean_again(project)


def strike(
    project: Project, run: subprocess.Popen[str], number: signal.Signals, subject: str
) -> None:
    """Send a signal when a stage writes: Ctrl-C to all as a terminal does, others to the first."""
    until(lambda: writing(project) or run.poll() is not None, "a stage writes")
    assert run.poll() is None, run.communicate()
    children = family(run.pid)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)
    else:
        os.kill(run.pid, number)
    run.wait(timeout=120)  # and not for the end of its output, which a child may hold open
    gone(children, subject)
    out, err = run.communicate()
    if number != signal.SIGKILL:
        assert "Traceback" not in out + err, out + err
    tally.add(f"signals to {subject}", struck=1, children_ended=len(children))


def forget(project: Project) -> None:
    """Have DVC run the stage, and not restore its outputs."""
    remove(project.folder / ".dvc/cache/runs")
    lock = project.folder / "dvc.lock"
    yaml = YAML(typ="safe")
    document = yaml.load(lock.read_text(encoding="utf-8"))
    document["stages"].pop(STAGE, None)  # a test that failed may have left it out
    with lock.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    project.remove_outputs(STAGE)


def clean_again(project: Project) -> None:
    """Run again; the outputs are those of the clean run, and nothing unfinished is left."""
    again = project.call("dvc", "repro")
    assert again.code == 0, again.stdout + again.stderr
    assert project.hashes(*project.stages) == project.clean
    # DVC may have restored the outputs: the stage itself clears what its killed run left.
    assert project.run(STAGE).code == 0
    assert project.hashes(STAGE) == project.wanted(STAGE)
    assert project.leftovers() == []

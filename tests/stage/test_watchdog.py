"""The process that a stage works for, and whether it still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import psutil
import pytest

from headstart.stage import watchdog


def test_the_parent_and_the_shells_above() -> None:
    parent, launcher = watchdog.parent(), watchdog.launcher()
    assert parent is not None
    assert launcher is not None
    assert parent.pid == os.getppid()
    assert watchdog.running(parent)
    assert watchdog.identity(parent) == watchdog.identity(psutil.Process(parent.pid))
    assert watchdog.identity(launcher) == watchdog.identity(watchdog.launcher())


@dataclass
class Ancestor:
    pid: int
    called: str

    def name(self) -> str:
        if not self.called:
            raise psutil.AccessDenied
        return self.called


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("sh", "bash", "dvc"), 3),
        (("dvc", "sh"), 1),
        (("sh", "bash"), 1),  # nobody above the shells can be seen
        (("sh", ""), 2),  # seen, but its name is hidden
    ],
)
def test_shells_are_skipped(
    names: tuple[str, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = [Ancestor(number + 1, name) for number, name in enumerate(names)]
    monkeypatch.setattr(psutil.Process, "parents", lambda _: family)
    monkeypatch.setattr(psutil.Process, "parent", lambda _: family[0])
    found = watchdog.launcher()
    assert found is not None
    assert found.pid == expected


def test_without_visible_ancestors_there_is_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil.Process, "parents", lambda _: [])
    monkeypatch.setattr(psutil.Process, "parent", lambda _: None)
    assert watchdog.launcher() is None
    assert watchdog.identity(None) == f"{os.getppid()}-0"


def test_dead_processes_and_reused_numbers_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        assert watchdog.running(process)
        started = watchdog.identity(process)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not watchdog.running(process)  # a zombie until its parent asks
    assert not watchdog.running(process)
    assert started != watchdog.identity(psutil.Process())

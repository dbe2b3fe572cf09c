"""Who a process works for, by either way of asking."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from headstart._utils import processes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX tells")


@pytest.fixture(params=["proc", "ps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "ps":
        if shutil.which("ps") is None:
            pytest.skip("needs ps")
        monkeypatch.setattr(processes, "_PROC", False)
    elif not processes._PROC:
        pytest.skip("needs /proc")
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_the_parent_and_the_shells_above() -> None:
    parent = processes.parent()
    assert parent.pid == os.getppid()
    assert parent.start != "0"
    assert processes.alive(parent)
    status = processes._status(os.getpid())
    assert status is not None
    assert status.parent == parent.pid
    assert processes.employer() == processes.employer()


def test_shells_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {
        7: processes._Status(6, "t7", "sh"),
        6: processes._Status(5, "t6", "bash"),
        5: processes._Status(1, "t5", "dvc"),
    }
    monkeypatch.setattr(os, "getppid", lambda: 7)
    monkeypatch.setattr(processes, "_status", family.get)
    assert processes.employer() == (5, "t5")
    del family[5]  # Nobody above the shells can be seen.
    assert processes.employer() == (7, "t7")
    family.clear()
    assert processes.employer() == (7, "0")


def test_the_dead_and_the_renumbered_do_not_live() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        status = processes._status(child.pid)
        assert status is not None
        process = processes.Process(child.pid, status.start)
        assert processes.alive(process)
        if processes._PROC:
            assert not processes.alive(processes.Process(child.pid, "another start"))
        child.kill()
    assert not processes.alive(process)

"""Who a process works for, by either way of asking."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from stages.core import ancestry

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only POSIX tells")


@pytest.fixture(params=["proc", "ps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "ps":
        if shutil.which("ps") is None:
            pytest.skip("needs ps")
        monkeypatch.setattr(ancestry, "_PROC", False)
    elif not ancestry._PROC:
        pytest.skip("needs /proc")
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_the_parent_and_the_shells_above() -> None:
    parent = ancestry.parent()
    assert parent.pid == os.getppid()
    assert parent.start != "0"
    assert ancestry.alive(parent)
    status = ancestry._status(os.getpid())
    assert status is not None
    assert status.parent == parent.pid
    assert ancestry.employer() == ancestry.employer()


def test_shells_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    family = {
        7: ancestry._Status(6, "t7", "sh"),
        6: ancestry._Status(5, "t6", "bash"),
        5: ancestry._Status(1, "t5", "dvc"),
    }
    monkeypatch.setattr(os, "getppid", lambda: 7)
    monkeypatch.setattr(ancestry, "_status", family.get)
    assert ancestry.employer() == (5, "t5")
    del family[5]  # Nobody above the shells can be seen.
    assert ancestry.employer() == (7, "t7")
    family.clear()
    assert ancestry.employer() == (7, "0")


def test_the_dead_and_the_renumbered_do_not_live() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        status = ancestry._status(child.pid)
        assert status is not None
        process = ancestry.Process(child.pid, status.start)
        assert ancestry.alive(process)
        if ancestry._PROC:
            assert not ancestry.alive(ancestry.Process(child.pid, "another start"))
        child.kill()
    assert not ancestry.alive(process)

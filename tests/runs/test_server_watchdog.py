"""Prefect's temporary server ends with the run that started it, however that one ends."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import psutil
import pytest

from headstart.runs import local_runner
from headstart.runs.server_watchdog import end_with_this_process
from tests.conftest import ROOT

RUN = """
import os, signal, subprocess, sys
from headstart.runs.server_watchdog import end_with_this_process
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
watchdog = end_with_this_process(server.pid)
print(server.pid, watchdog.pid, flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_run_takes_its_server_along() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as run:  # fmt: skip
        assert run.stdin is not None
        assert run.stdout is not None
        both = [psutil.Process(int(number)) for number in run.stdout.readline().split()]
        assert all(each.is_running() for each in both)
        run.stdin.write("\n")
        run.stdin.flush()
        _, alive = psutil.wait_procs(both, timeout=60)
        assert not alive


def test_a_server_that_has_ended_is_nobody_to_watch() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with end_with_this_process(gone.pid) as watchdog:
        assert watchdog.wait(60) == 0


def test_a_module_that_is_being_imported_has_no_server_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_runner, "server", lambda: None)
    monkeypatch.setitem(sys.modules, "prefect.server.api.server", ModuleType("server"))
    assert local_runner.temporary_server() is None


def test_without_a_temporary_server_there_is_no_process_to_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_runner, "server", lambda: "http://lasting/api")
    assert local_runner.temporary_server() is None

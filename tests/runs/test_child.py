"""A command in a session of its own: its lines, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.runs import child
from tests.runs.server import until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sessions and signals of POSIX")


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:  # killed, and its parent has not asked yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run(
    folder: Path, code: str, on_line: Callable[[str], None] = lambda _: None, **options: Any
) -> child.Ended:
    return child.run(python(code), folder=folder, on_line=on_line, **options)


def test_lines_of_both_streams_come_in_their_order(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys, os; print('a'); print('b', file=sys.stderr); print(os.getcwd(), end='')"
    assert run(tmp_path, code, lines.append) == child.Ended(0)
    assert lines == ["a", "b", str(tmp_path)]


def test_a_line_comes_as_it_is_printed_and_carriage_returns_end_lines(tmp_path: Path) -> None:
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line == " 10%|#":  # The child waits until this line was heard.
            (tmp_path / "heard").touch()

    code = (
        "import pathlib, sys, time\n"
        "sys.stdout.write('\\r 10%|#\\r'); sys.stdout.flush()\n"
        "while not pathlib.Path('heard').exists(): time.sleep(0.01)\n"
        "print('done\\r')"
    )
    assert run(tmp_path, code, hear).code == 0
    assert [line for line in lines if line] == [" 10%|#", "done"]


def test_odd_bytes_and_endless_lines_do_no_harm(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n' + b'x' * 1_000_000)"
    run(tmp_path, code, lines.append)
    assert lines[0] == "��"
    assert all(len(line) <= 20_000 for line in lines)


def test_the_exit_code_is_reported_and_variables_are_added(tmp_path: Path) -> None:
    code = "import os, sys; sys.exit(int(os.environ['CODE']) + ('PATH' in os.environ))"
    assert run(tmp_path, code, environment={"CODE": "6"}) == child.Ended(7)


FAMILY = """
import os, subprocess, sys, time, signal
if {deaf}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = subprocess.Popen(["sleep", "600"])
print(os.getpid(), other.pid)
time.sleep(600)
"""


@pytest.mark.parametrize("deaf", [False, True])
def test_stopping_ends_the_whole_family(
    tmp_path: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "INTERRUPT_S", 0.5)
    monkeypatch.setattr(child, "TERMINATE_S", 0.5)
    stop = threading.Event()
    family: list[int] = []

    def hear(line: str) -> None:
        if line.replace(" ", "").isdigit():
            family.extend(map(int, line.split()))
            stop.set()

    ended = run(tmp_path, FAMILY.format(deaf=deaf), hear, stop=stop)
    assert ended.stopped
    assert not ended.timed_out
    assert ended.code == (-signal.SIGKILL if deaf else -signal.SIGINT)
    assert len(family) == 2
    until(lambda: all(gone(pid) for pid in family), 20, "the family ends")


def test_an_interrupt_lets_it_finish_what_it_does(tmp_path: Path) -> None:
    stop = threading.Event()
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        stop.set()

    code = (
        "import time\ntry:\n    print('on'); time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('saved'); raise SystemExit(130)"
    )
    assert run(tmp_path, code, hear, stop=stop) == child.Ended(130, stopped=True)
    assert lines == ["on", "saved"]


def test_time_that_is_over_ends_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "import time; time.sleep(600)", timeout_s=0.3)
    assert ended.timed_out
    assert not ended.stopped


def test_what_a_command_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    assert run(tmp_path, code, lines.append).code == 0
    until(lambda: gone(int(lines[0])), 20, "what was left behind ends")


def test_an_exception_of_the_listener_leaves_nothing_running(tmp_path: Path) -> None:
    found: list[int] = []

    def hear(line: str) -> None:
        found.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "import os, time; print(os.getpid()); time.sleep(600)", hear)
    until(lambda: gone(found[0]), 20, "the child ends")


OWNER = """
import sys
from pathlib import Path
from headstart.runs import child, run_stage
words = [sys.executable, "-P", str(run_stage._WATCHDOG), *sys.argv[1:]]
child.run(words, folder=Path(), on_line=lambda line: print(line, flush=True), watchdog=True)
"""


#: The second and the third are a stage, and a child of a stage, that take no signal but SIGKILL.
LONG_STAGES = {
    "plain": "echo $$ $PPID > pids; exec sleep 600",
    "deaf": "trap '' INT TERM; echo $$ $PPID > pids; sleep 600",
    "deaf child": "(trap '' INT TERM; exec sleep 600) & echo $$ $PPID $! > pids; exec sleep 600",
}


@pytest.mark.parametrize("stage", LONG_STAGES)
def test_a_killed_owner_takes_dvc_and_its_stage_along(tmp_path: Path, stage: str) -> None:
    from tests.conftest import ROOT
    from tests.runs import projects

    projects.call(tmp_path, "git", "init", "-q")
    projects.dvc(tmp_path, "init", "-q")
    (tmp_path / "dvc.yaml").write_text(
        json.dumps({"stages": {"long": {"cmd": LONG_STAGES[stage], "outs": ["long.txt"]}}})
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, "repro", "long"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        pids = tmp_path / "pids"
        until(lambda: pids.exists() and pids.read_text().endswith("\n"), 60, "the stage begins")
    finally:
        owner.kill()
        owner.wait()
    family = [int(word) for word in pids.read_text().split()]
    until(lambda: all(gone(pid) for pid in family), 30, "dvc and the stage end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_block_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), child.ended_by_signals():
        os.kill(os.getpid(), number)
        signal.pause()
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with child.ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

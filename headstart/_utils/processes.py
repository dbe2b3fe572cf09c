"""The process that a stage works for: dvc, also where a shell stands between the two.

DVC starts a command through ``sh -c``. Some shells become the command, others (dash: Debian's sh,
so containers, cron and CI) wait for it, and are then its parent.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

_SHELLS = {
    "ash", "bash", "busybox", "cmd.exe", "csh", "dash", "fish", "ksh", "ksh93", "mksh", "oksh",
    "rbash", "sh", "tcsh", "yash", "zsh",
}  # fmt: skip
_PROC = Path("/proc/self/stat").exists()  # Linux; elsewhere `ps` knows
_MOST = 32  # ancestors that are looked at


class Process(NamedTuple):
    """A process; its start time tells it from a later one that was given the same number."""

    pid: int
    start: str


class _Status(NamedTuple):
    parent: int
    start: str
    name: str


def employer() -> Process:
    """The first ancestor that is no shell; the parent, if there is none or nobody can tell."""
    pid = os.getppid()
    for _ in range(_MOST):
        status = _status(pid)
        if status is None:
            break
        if status.name not in _SHELLS:
            return Process(pid, status.start)
        pid = status.parent
    return parent()


def parent() -> Process:
    """The parent, shell or not."""
    pid = os.getppid()
    status = _status(pid)
    return Process(pid, status.start if status else "0")


def alive(process: Process) -> bool:
    """Whether it still runs; "yes" where that cannot be asked."""
    try:
        if _PROC:
            status = _from_proc(process.pid)
            return status is not None and status.start == process.start
        if os.name == "posix":  # Asked twice a second: too often to start `ps` for it.
            os.kill(process.pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


def _status(pid: int) -> _Status | None:
    """Of a process that runs; None of one that is gone, or that cannot be looked at."""
    if pid <= 0:
        return None
    try:
        return _from_proc(pid) if _PROC else _from_ps(pid)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def _from_proc(pid: int) -> _Status | None:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The name may hold blanks and parentheses.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 1 :].split()
    if fields[0] in {"Z", "X"}:  # It was killed, and its parent has not asked yet.
        return None
    return _Status(int(fields[1]), fields[19], name)


def _from_ps(pid: int) -> _Status:
    answer = subprocess.run(
        ["ps", "-o", "ppid=,lstart=,comm=", "-p", str(pid)],
        capture_output=True, text=True, check=True, timeout=5, env={**os.environ, "LC_ALL": "C"},
    ).stdout.split(maxsplit=6)  # fmt: skip
    # A login shell is "-zsh", and some systems give the whole path.
    name = answer[6].strip().rsplit("/", 1)[-1].removeprefix("-")
    return _Status(int(answer[0]), "-".join(answer[1:6]), name)

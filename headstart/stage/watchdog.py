"""Process watchdog: a stage never outlives the dvc that started it.

DVC does not end its child when it is killed: the stage would keep writing, and the next run would
start a second one beside it. DVC starts a command through ``sh -c``. Some shells become the
command; others (dash, which is Debian's sh, so in containers, cron and CI) wait for it and are then
its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

_SHELLS = {
    "ash", "bash", "busybox", "cmd.exe", "csh", "dash", "fish", "ksh", "ksh93", "mksh", "oksh",
    "rbash", "sh", "tcsh", "yash", "zsh",
}  # fmt: skip
_PR_SET_PDEATHSIG = 1
_PERIOD = 0.5  # seconds


def launcher() -> psutil.Process | None:
    """Return the first ancestor that is not a shell; the parent if all are; None if none is seen.

    For a stage, that is the dvc that started it, also where a shell stands between the two.
    """
    ancestors = psutil.Process().parents()
    return next((each for each in ancestors if _name(each) not in _SHELLS), parent())


def parent() -> psutil.Process | None:
    """Return the parent process, shell or not; None where it cannot be seen."""
    try:
        return psutil.Process().parent()
    except psutil.Error:
        return None


def identity(process: psutil.Process | None) -> str:
    """Return ``PID-START``: the start time distinguishes processes with the same number."""
    if process is None:
        return f"{os.getppid()}-0"
    try:  # In clock ticks since boot: unlike psutil's, unchanged when the clock is set.
        fields = Path(f"/proc/{process.pid}/stat").read_text("utf-8", "replace").rpartition(")")[2]
        return f"{process.pid}-{fields.split()[19]}"
    except (OSError, IndexError):
        return f"{process.pid}-{process.create_time()}"


def running(process: psutil.Process) -> bool:
    """Return True if the process still runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def die_with_dvc() -> None:
    """End this process when the dvc that started it ends; without DVC, do nothing."""
    if "DVC_STAGE" not in os.environ:
        return
    parent_pid, dvc = os.getppid(), launcher()
    # The kernel signals at once, but knows the parent only.
    die_with_parent(parent_pid, signal.SIGTERM)
    if dvc is not None and (sys.platform != "linux" or dvc.pid != parent_pid):
        threading.Thread(target=_watch, args=(parent_pid, dvc), daemon=True).start()


def die_with_parent(parent_pid: int, number: int) -> None:
    """Let the kernel signal this process when its parent ends; do nothing outside Linux.

    The parent is the *thread* that started this process: it has to live as long.

    Parameters
    ----------
    parent_pid : int
        It may have ended already.
    number : int
        The signal.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent_pid:  # The parent ended before the call.
        os._exit(143)


def _watch(parent_pid: int, dvc: psutil.Process) -> None:
    while os.getppid() == parent_pid and running(dvc):
        time.sleep(_PERIOD)
    os._exit(143)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""

"""Runs a command whose whole family of processes ends with this one, whatever becomes of it.

``python keeper.py COMMAND…`` prints the command's process id. When its standard input closes
(a test is over, or the process that ran it is gone), everything that descends from the command is
killed: orphans too, because this process adopts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def descendants(root: int) -> set[int]:
    """Process ids of all that descend from a process. Linux only."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(after_name[1])
    found: set[int] = set()
    fresh = {root}
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def end_family() -> None:
    """Kill all descendants of this process, until there are none."""
    while family := descendants(os.getpid()):
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(0.05)


def reap() -> None:
    """Collect children that ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait(closed: threading.Event) -> None:
    """Wait for the end of the input."""
    sys.stdin.buffer.read()
    closed.set()


def main() -> None:
    """Start the command, say its process id, and end it all when the input closes."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    os.write(3, f"{child.pid}\n".encode())
    closed = threading.Event()
    threading.Thread(target=wait, args=(closed,), daemon=True).start()
    while not closed.wait(0.2):
        reap()
    end_family()


if __name__ == "__main__":
    main()

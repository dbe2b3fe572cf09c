"""DVC's command line with a process watchdog: both end when the process that started them ends.

Run as a script: ``python -P dvc_watchdog.py ARGUMENT…``. Standard input is a pipe that the starter
never writes to; once it is closed, the starter has ended. DVC and its stages read an empty standard
input instead. Only the standard library and DVC are imported: the folder that this runs in may hold
another version of the project.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

# Seconds between the interrupt and the kill: no process of a run lives for 2 s without its starter.
GRACE_S = 1.0


def watch(descriptor: int, starter_ended: threading.Event) -> None:
    """Wait for the end of the starter, then end the process group that this process leads."""
    while os.read(descriptor, 64):
        pass
    starter_ended.set()
    # A group is signaled as a whole. DVC outlives an interrupt, so the stage's own handling comes
    # first; it would not outlive SIGTERM, and nobody would be left to send the kill.
    os.killpg(os.getpgrp(), signal.SIGINT)
    time.sleep(GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> int:
    """Run DVC with the given arguments; return its exit code."""
    descriptor, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.argv[0] = "dvc"  # DVC names the holder of a lock by it
    starter_ended = threading.Event()
    threading.Thread(target=watch, args=(descriptor, starter_ended), daemon=True).start()
    from dvc.cli import main as dvc

    try:
        return int(dvc(sys.argv[1:]))
    finally:
        if starter_ended.is_set():  # what the stage left behind
            os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

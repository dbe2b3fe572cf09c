"""DVC's command line with a process watchdog: both end when the process that started them is gone.

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

# Seconds that a signal is given before the next one.
GRACE_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def watch(descriptor: int) -> None:
    """Wait for the end of the starter, then end the process group that this process leads."""
    while os.read(descriptor, 64):
        pass
    # The stage's own handling of an interrupt comes first; this process has to outlive its signals
    # to send the next one, and a group is signaled as a whole.
    for number in SIGNALS:
        os.killpg(os.getpgrp(), number)
        time.sleep(GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> int:
    """Run DVC with the given arguments; return its exit code."""
    descriptor, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    sys.argv[0] = "dvc"  # DVC names the holder of a lock by it
    threading.Thread(target=watch, args=(descriptor,), daemon=True).start()
    from dvc.cli import main as dvc

    return int(dvc(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())

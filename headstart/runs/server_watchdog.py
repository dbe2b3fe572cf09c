"""End Prefect's temporary server with the run that started it, also when the run is killed.

Run as a script: ``python -P server_watchdog.py PROCESS``. Standard input is a pipe that the run
never writes to; once it is closed, the run has ended.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil

#: Seconds that the server has to end by itself.
GRACE_S = 1.0


def end_with_this_process(server: int) -> subprocess.Popen[bytes]:
    """Start a watchdog over a server's process; it ends both when this process has ended."""
    # Ctrl-C at a terminal is meant for the run, which ends its server by itself.
    return subprocess.Popen(
        [sys.executable, "-P", Path(__file__).resolve(), str(server)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip


def watch(process: int) -> None:
    """Wait for the end of standard input, then end the process, if it still is the same one."""
    with contextlib.suppress(psutil.Error):
        server = psutil.Process(process)
        while sys.stdin.buffer.read(64):
            pass
        server.terminate()
        try:
            server.wait(GRACE_S)
        except psutil.TimeoutExpired:
            server.kill()


if __name__ == "__main__":
    watch(int(sys.argv[1]))

"""``headstart review`` of a project in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0


@contextmanager
def served(folder: Path, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield its address; afterwards it must end well when it is asked to."""
    command = [sys.executable, "-m", "headstart", "review", "--port=0"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=folder, stderr=stream, env=environment)
    try:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"Serving at (\S+) ", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()

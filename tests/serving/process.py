"""The service as a process of its own, on a port that is free."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import ROOT

PATIENCE = 120.0


class Running:
    """A service that answers; ``address`` is where."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        self.address = self._address()

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def _address(self) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if (found := re.search(r"Serving at (\S+) ", self.log)) and self.log.count("POST") == 2:
                return found[1]
            time.sleep(0.02)
        raise AssertionError(f"the service does not answer: {self.log}")


@contextmanager
def running(model: Path, folder: Path, *options: str) -> Iterator[Running]:
    """``headstart serve-model``; ended with the block, whatever happens."""
    log = folder / "service.log"
    command = [sys.executable, "-m", "headstart", "serve-model", f"--model={model}", "--port=0"]
    with log.open("w") as stream:
        process = subprocess.Popen([*command, *options], cwd=ROOT, stderr=stream, text=True)
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.wait()


def client(service: Running) -> httpx.Client:
    """A client for it alone: no proxy of the environment comes between."""
    return httpx.Client(base_url=service.address, trust_env=False, timeout=PATIENCE)

"""A real Prefect server and real workers on loopback, with a home, database and port of their own.

Every process is kept by ``keeper.py``: whatever becomes of the test, nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

KEEPER = Path(__file__).with_name("keeper.py")
BIN = Path(sys.executable).parent
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


def until(ready: Callable[[], T | None], seconds: float, what: str) -> T:
    """Wait for something true, and return it."""
    end = time.monotonic() + seconds
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)


class Kept:
    """A process that is certain to end, with all that it started.

    Parameters
    ----------
    command : sequence of str
    log : Path
        Gets everything that it prints.
    environment : mapping
    folder : Path
        The current folder of the command.
    """

    def __init__(
        self, command: list[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> None:
        self.log = log
        reading, writing = os.pipe()
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", _ON_THREE, str(writing), str(KEEPER), *command],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                env=dict(environment), cwd=folder, pass_fds=[writing], start_new_session=True,
            )  # fmt: skip
        os.close(writing)
        with os.fdopen(reading) as answer:
            self.pid = int(answer.readline())

    @property
    def text(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the command alone, as `kill` would."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the command alone, at once; what it started goes on, as it would without a test."""
        self.signal(signal.SIGKILL)

    @property
    def alive(self) -> bool:
        """Whether the command runs."""
        with suppress(OSError):
            status = Path(f"/proc/{self.pid}/stat").read_text()
            return status.rpartition(")")[2].split()[0] != "Z"
        return False

    def close(self) -> None:
        """End the command and everything that descends from it."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(30)
        finally:
            self._keeper.kill()
            self._keeper.wait()


# The keeper answers on descriptor 3, wherever the pipe happens to be.
_ON_THREE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


class Prefect:
    """A server, its workers, and what a person asks of them.

    Parameters
    ----------
    folder : Path
        For its home, database and logs.
    settings : str
        Environment variables that differ.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT")},
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            **settings,
        }
        self.kept: list[Kept] = []
        self.server: Kept | None = None

    def start(self) -> None:
        """Start the server, or start it again, and wait until it answers."""
        command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1"]
        self.server = self._keep([*command, "--port", str(self.port)], "server.log", self.folder)
        until(self.healthy, 300, "the server answers")

    def healthy(self) -> bool:
        """Whether the server answers."""
        with suppress(httpx.HTTPError):
            return bool(httpx.get(f"{self.url}/health", timeout=2).status_code == 200)
        return False

    def worker(self, pool: str, name: str = "worker", **environment: str) -> Kept:
        """Start a process worker, in an empty folder of its own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        command = [str(BIN / "prefect"), "worker", "start", "--pool", pool, "--type", "process"]
        kept = self._keep([*command, "--name", name], f"{name}.log", folder, **environment)
        until(lambda: "started!" in kept.text, 180, "the worker starts")
        return kept

    def run(self, *words: str, folder: Path, **environment: str) -> str:
        """Run a command of a person; return what it prints. Raises if it fails."""
        done = subprocess.run(
            words, cwd=folder, env={**self.environment, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the API; return the answer."""
        return self._answer("POST", path, body)

    def look(self, path: str) -> Any:
        """GET from the API."""
        return self._answer("GET", path)

    def found(self, path: str) -> Any | None:
        """GET from the API; None if there is no such thing."""
        try:
            return self.look(path)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """As Prefect's own client does it: a database that is busy is asked again."""

        def asked() -> httpx.Response | None:
            answer = httpx.request(method, f"{self.url}/{path}", json=body, timeout=60)
            return None if answer.status_code == 503 else answer

        answer = until(asked, 60, f"{path} is answered")
        answer.raise_for_status()
        return answer.json()

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Start a run of FLOW/NAME now; return its id."""
        found = self.look(f"deployments/name/{deployment}")
        created = self.ask(
            f"deployments/{found['id']}/create_flow_run",
            parameters={**found["parameters"], **parameters}, state={"type": "SCHEDULED"},
        )  # fmt: skip
        return str(created["id"])

    def state(self, run: str) -> str:
        """COMPLETED, RUNNING and so on."""
        return str(self.look(f"flow_runs/{run}")["state_type"])

    def ended(self, run: str, seconds: float = 300) -> dict[str, Any]:
        """Wait for the end of a run; return what the server knows of it."""
        until(lambda: self.state(run) in FINAL, seconds, f"run {run} ends")
        return dict(self.look(f"flow_runs/{run}"))

    def cancel(self, run: str) -> None:
        """Ask for a run to be cancelled, as the button and `prefect flow-run cancel` do."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.ask(f"flow_runs/{run}/set_state", state=state, force=False)

    def log(self, run: str) -> str:
        """All lines of a run's log that reached the server."""
        lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
        return "\n".join(line["message"] for line in lines)

    def close(self) -> None:
        """End everything."""
        while self.kept:
            self.kept.pop().close()

    def _keep(self, command: list[str], log: str, folder: Path, **environment: str) -> Kept:
        kept = Kept(command, self.folder / log, {**self.environment, **environment}, folder)
        self.kept.append(kept)
        return kept

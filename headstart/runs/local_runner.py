"""Run the pipeline's flow in this process, and end in bounded time whatever its server does."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from headstart._utils.errors import HeadstartError
from headstart.runs.child import ended_by_signals
from headstart.runs.pipeline_run import Run, watching
from headstart.runs.project_flows import project_flow
from headstart.runs.server_watchdog import end_with_this_process
from headstart.runs.stage_tasks import HELD, HELD_CODE

INTERRUPTED_CODE = 130
_LINE = 200
# Seconds after the last stage in which Prefect may report the end to its server.
PATIENCE_S = 20.0
PATIENCE_INTERRUPTED_S = 5.0
_REFUSALS = 3  # in a row, a second each: a server that is started again takes longer, too
PATIENCE_TEMPORARY_S = 1.0  # Ctrl-C at a terminal ends a temporary server, too
#: They last as long as this process.
_watchdogs: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Finished:
    """The end of a run.

    Attributes
    ----------
    code : int
        For the command: 0; 1, a stage failed; 5, held by a gate; 130, interrupted or canceled.
    message : str
        A description of the result.
    address : str or None
        The run's page; None if the server was a temporary one.
    lost : bool
        The server did not record the end of the run; DVC did.
    temporary : bool
        The server was started for this run alone.
    """

    code: int
    message: str
    address: str | None
    lost: bool
    temporary: bool


def run_locally(
    root: Path, *, gate: bool, commit: bool, on_lost: Callable[[Finished], None]
) -> Finished:
    """Run the flow to its end.

    Parameters
    ----------
    root : Path
        The project's folder.
    gate, commit : bool
        As :func:`flows.pipeline.pipeline` takes them.
    on_lost : callable
        Called in another thread if the stages have ended and Prefect does not end: it must end
        the process.

    Raises
    ------
    HeadstartError
        If no stage could be started, because there is no server.
    """
    logging.getLogger("prefect._internal.concurrency").addFilter(_short)
    pipeline = project_flow(root, "pipeline")
    returned = threading.Event()
    # Prefect's handler replaces this one while the flow runs, and passes the signal on.
    with watching() as runs, ended_by_signals():
        guard = threading.Thread(target=_guard, args=(runs, returned, on_lost), daemon=True)
        guard.start()
        lost = False
        try:
            pipeline(str(root), gate=gate, commit=commit, return_state=True)
        except KeyboardInterrupt:
            if not _ended(runs):
                return Finished(
                    INTERRUPTED_CODE, "Interrupted before the run began.", None, lost=False,
                    temporary=server() is None,
                )  # fmt: skip
        except Exception as error:
            if not _ended(runs):
                raise _unreachable(error) from error
            lost = True
        finally:
            returned.set()
        return finished(runs[0], lost=lost)


def _short(record: logging.LogRecord) -> bool:
    """Shorten a log line: Prefect prints complete events that it cannot send."""
    text = record.getMessage()
    if len(text) > _LINE:
        record.msg, record.args, record.exc_info = f"{text[:_LINE]} …", (), None
    return True


def finished(run: Run, *, lost: bool) -> Finished:
    """Return how a run ended."""
    state: Any = run.result
    code = 0
    if state.is_failed():
        code = HELD_CODE if state.name == HELD else 1
    elif not state.is_completed():
        code = INTERRUPTED_CODE
    temporary = server() is None
    address = None if temporary else url_for("flow-run", obj_id=run.flow_run.id)
    return Finished(code, state.message or "", address, lost, temporary)


def server() -> str | None:
    """Return the lasting server's address; None: a temporary one is started."""
    return get_current_settings().api.url


def end_temporary_server() -> None:
    """End the temporary server, for a process that does not exit in the usual way."""
    for started in _started_servers():
        started.stop()


def temporary_server() -> int | None:
    """Return the process of the temporary server; None if there is none (yet)."""
    processes = [each.server_process for each in _started_servers()]
    return next((each.pid for each in processes if each is not None), None)


def _started_servers() -> list[Any]:
    # In another thread than the one that imports the module, it may lack its class yet.
    module = sys.modules.get("prefect.server.api.server")
    servers = getattr(module, "SubprocessASGIServer", None)
    if servers is None or server() is not None:
        return []
    return list(servers._instances.values())  # noqa: SLF001 - no other way to it


def _ended(runs: list[Run]) -> bool:
    return bool(runs) and runs[0].result is not None


def _guard(runs: list[Run], returned: threading.Event, on_lost: Callable[[Finished], None]) -> None:
    """Wait for the stages' end, then for Prefect's, but not forever."""
    watchdog = None
    while not returned.wait(0.2):
        # Nobody else ends the server of a run that is killed.
        if watchdog is None and (process := temporary_server()) is not None:
            watchdog = end_with_this_process(process)
            _watchdogs.append(watchdog)
        if runs and runs[0].over.is_set() and runs[0].result is not None:
            break
    else:
        return
    seconds = PATIENCE_S
    if runs[0].result.is_cancelled():
        seconds = PATIENCE_INTERRUPTED_S if server() else PATIENCE_TEMPORARY_S
    end, refused = time.monotonic() + seconds, 0
    while not returned.wait(1.0):
        refused = refused + 1 if _refuses() else 0
        if time.monotonic() >= end or refused == _REFUSALS:
            on_lost(finished(runs[0], lost=True))
            return


def _refuses() -> bool:
    """Return whether the lasting server is gone."""
    address = server()
    if address is None:
        return False
    try:
        httpx.get(f"{address}/health", timeout=1.0)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False


def _unreachable(error: Exception) -> HeadstartError:
    where = f"Prefect's server at {server()}" if server() else "Prefect's temporary server"
    return HeadstartError(
        f"{where} cannot be used: {type(error).__name__}: {error}. No stage was run. "
        "`prefect server start` starts a lasting one; without PREFECT_API_URL, each run has a "
        "temporary one; `dvc repro` needs none."
    )

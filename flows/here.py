"""The pipeline's flow in this process, with an end in bounded time whatever its server does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from flows.errors import FlowError
from flows.pipeline import HELD, HELD_CODE, Run, pipeline, watching

INTERRUPTED_CODE = 130
# Seconds after the last stage in which Prefect may tell its server of the end.
PATIENCE_S = 30.0
PATIENCE_INTERRUPTED_S = 10.0


@dataclass(frozen=True)
class Finished:
    """How a run ended.

    Attributes
    ----------
    code : int
        For the command: 0; 1, a stage failed; 5, held by a gate; 130, interrupted or cancelled.
    message : str
        A sentence or more on it.
    address : str or None
        The run's page; None if the server was a temporary one.
    lost : bool
        The server did not take the end of the run. DVC has it all the same.
    """

    code: int
    message: str
    address: str | None
    lost: bool


def run_here(
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
        Called in another thread if the stages are at their end, and Prefect does not come to its
        own: it has to end the process.

    Raises
    ------
    FlowError
        If no stage could be started, because there is no server.
    """
    returned = threading.Event()
    with watching() as runs:
        guard = threading.Thread(target=_guard, args=(runs, returned, on_lost), daemon=True)
        guard.start()
        lost = False
        try:
            pipeline(str(root), gate=gate, commit=commit, return_state=True)
        except KeyboardInterrupt:
            if not _ended(runs):
                return Finished(INTERRUPTED_CODE, "Interrupted before it began.", None, lost=False)
        except Exception as error:
            if not _ended(runs):
                raise _unreachable(error) from error
            lost = True
        finally:
            returned.set()
        return finished(runs[0], lost=lost)


def finished(run: Run, *, lost: bool) -> Finished:
    """What a run that is over has to say."""
    state: Any = run.result
    code = 0
    if state.is_failed():
        code = HELD_CODE if state.name == HELD else 1
    elif not state.is_completed():
        code = INTERRUPTED_CODE
    return Finished(code, state.message or "", _address(run.flow_run.id), lost)


def server() -> str | None:
    """The lasting server's address; None: a temporary one is started."""
    return get_current_settings().api.url


def _ended(runs: list[Run]) -> bool:
    return bool(runs) and runs[0].result is not None


def _guard(runs: list[Run], returned: threading.Event, on_lost: Callable[[Finished], None]) -> None:
    """Wait for the stages' end, then for Prefect's, but not for ever."""
    while not returned.wait(0.2):
        if runs and runs[0].over.is_set() and runs[0].result is not None:
            hurried = runs[0].result.is_cancelled()
            if not returned.wait(PATIENCE_INTERRUPTED_S if hurried else PATIENCE_S):
                on_lost(finished(runs[0], lost=True))
            return


def _address(flow_run: UUID) -> str | None:
    return url_for("flow-run", obj_id=flow_run) if server() else None


def _unreachable(error: Exception) -> FlowError:
    where = f"Prefect's server at {server()}" if server() else "Prefect's temporary server"
    return FlowError(
        f"{where} cannot be used: {type(error).__name__}: {error}. No stage was run. "
        "`prefect server start` starts a lasting one; without PREFECT_API_URL, each run has a "
        "temporary one; `dvc repro` needs none."
    )

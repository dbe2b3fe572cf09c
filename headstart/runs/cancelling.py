"""A run that is cancelled in Prefect's pages, or by its API, ends; whoever started it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from prefect import get_client

_EVERY_S = 2.0


@contextmanager
def cancellation(
    flow_run: UUID, stop: threading.Event, say: Callable[[str], None], every_s: float = _EVERY_S
) -> Iterator[threading.Event]:
    """Set ``stop`` as soon as the server says that the flow run is to be cancelled.

    A runner or worker also sends SIGTERM; where the flow was called directly, nobody does. A server
    that does not answer is asked again.

    Yields
    ------
    threading.Event
        Set if it was cancelled.
    """
    cancelled, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            if _asked(flow_run):
                say("The run is being cancelled: ending its stages …")
                cancelled.set()
                stop.set()
                return

    # The settings that say where the server is belong to the context.
    thread = threading.Thread(target=copy_context().run, args=(watch,), daemon=True)
    thread.start()
    try:
        yield cancelled
    finally:
        over.set()


def _asked(flow_run: UUID) -> bool:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run).state
    except Exception:  # noqa: BLE001 - no answer, whatever the reason, is no reason to end
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())

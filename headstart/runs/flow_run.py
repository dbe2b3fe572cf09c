"""The flow run of a call, and its cancellation, as Prefect knows them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from headstart._utils.errors import HeadstartError

_EVERY_S = 2.0


def current_flow_run(flow: str) -> FlowRun:
    """Return the flow run of this call.

    Raises
    ------
    HeadstartError
        If the caller is not inside the flow named ``flow``.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise HeadstartError(f"This runs only inside of a Prefect flow: call the flow `{flow}`.")
    return context.flow_run


@contextmanager
def cancellation(
    flow_run: UUID, stop: threading.Event, say: Callable[[str], None], every_s: float = _EVERY_S
) -> Iterator[threading.Event]:
    """Set ``stop`` as soon as the server has a request to cancel the flow run.

    A runner or worker also sends SIGTERM; where the flow was called directly, nobody does. A server
    that does not answer is asked again.

    Yields
    ------
    threading.Event
        Set if the run was canceled.
    """
    cancelled, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            if _cancelled(flow_run):
                say("The run is being canceled: its stages are stopped …")
                cancelled.set()
                stop.set()
                return

    # The settings with the server's address belong to the context.
    thread = threading.Thread(target=copy_context().run, args=(watch,), daemon=True)
    thread.start()
    try:
        yield cancelled
    finally:
        over.set()


def _cancelled(flow_run: UUID) -> bool:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run).state
    except Exception:  # noqa: BLE001 - no answer, whatever the reason, is no reason to end
        return False
    return state is not None and (state.is_cancelling() or state.is_cancelled())

"""Processes that work for this one, and end with it however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

#: Calls a function with arguments and returns its result, here or elsewhere.
Call: TypeAlias = Callable[..., Any]


@contextmanager
def worker_processes(
    count: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Yield worker processes, which end at once if the block fails or is interrupted.

    Parameters
    ----------
    count : int
    start : callable, optional
        Called with ``arguments`` in each of them, before anything else.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _begin, (start, *arguments))
    try:
        yield pool
    except BaseException:
        workers = list((pool._processes or {}).values())  # noqa: SLF001 - terminate_workers needs Python 3.14
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    else:
        pool.shutdown()


def call_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in the calling thread."""
    return function(*arguments)


@contextmanager
def calling(processes: int) -> Iterator[Call]:
    """Yield a function that calls functions in some processes; with 0, in the calling thread.

    Threads may call it at once. It returns when the result is there, and raises what was raised.
    """
    if not processes:
        yield call_here
        return
    with worker_processes(processes) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def _begin(start: Callable[..., None] | None, *arguments: Any) -> None:
    """Prepare a worker process: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

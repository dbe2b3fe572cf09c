"""Work on many items in threads, within bounded memory and with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from headstart._utils.machine import cores

T = TypeVar("T")
R = TypeVar("R")

_WINDOW_BYTES = 128 << 20  # of items that wait for a thread; one larger item is let through
_WINDOW_ITEMS = 256


def in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int | None = None,
    size: Callable[[T], int] = lambda _: 0,
    window: int = _WINDOW_ITEMS,
) -> Generator[tuple[T, R], None, None]:
    """Yield each item with its result, in order.

    Parameters
    ----------
    function : callable
    items : iterable
        Taken one by one, when there is room.
    workers : int, optional
        Threads; default: one per core that this process may use.
    size : callable
        Returns the bytes of an item.
    window : int
        Maximum number of items that are taken before the first result is yielded.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(workers or cores())
    try:
        for item in items:
            held += size(item)
            while waiting and (held > _WINDOW_BYTES or len(waiting) >= window):
                first, future = waiting.popleft()
                yield first, future.result()
                held -= size(first)
            waiting.append((item, pool.submit(function, item)))
        for item, future in waiting:
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)

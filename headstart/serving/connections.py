"""Bounds on the connections of the service: how many, how long they may wait, what they log.

uvicorn waits for the headers of a request without an end, and accepts connections until the process
has no files left. Then it logs a failure for every attempt.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart._utils.tables import counted

if sys.platform != "win32":
    import resource

HEAD_SECONDS = 10.0  # for the headers of a request
REQUEST_SECONDS = 300.0  # from the headers to the end of the answer
_MOST = 4096
_OWN_FILES = 128  # open files that are not connections
_FILES_WITHOUT_LIMIT = 512  # where the system does not state its limit
_LINES, _WINDOW = 20, 60.0


def most_connections() -> int:
    """Return how many connections to keep at most, after asking the system for more open files."""
    files = _FILES_WITHOUT_LIMIT
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST + _OWN_FILES
        files = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
        if soft != resource.RLIM_INFINITY and soft < files:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            except (OSError, ValueError):
                files = soft
    return max(16, min(_MOST, files - _OWN_FILES))


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with a deadline for headers and for requests, and a bound.

    For one connection too many, the one that has waited longest for its headers is closed. It is
    the new one itself if all others are being answered.
    """

    most: ClassVar[int]
    head_seconds: ClassVar[float]
    request_seconds: ClassVar[float]
    #: Connections without headers, in the order in which they began to wait.
    waiting: ClassVar[dict[BoundedProtocol, None]]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]  # TCP alone: the loop gives such a transport
        self, transport: asyncio.Transport
    ) -> None:
        """Begin to wait for headers; make room."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self.most:
            oldest = next(iter(self.waiting))
            self.waiting.pop(oldest)
            self.connections.discard(oldest)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Record that the headers have arrived."""
        super().data_received(data)
        if self in self.waiting and self.cycle is not None and not self.cycle.response_complete:
            self._answer()

    def on_response_complete(self) -> None:
        """Wait for the headers of the next request, unless they have arrived already."""
        super().on_response_complete()
        if self.transport.is_closing() or self.cycle.response_complete:
            self._wait()
        else:
            self._answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop()
        self.waiting[self] = None
        self._deadline = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _answer(self) -> None:
        self._stop()
        self._deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _stop(self) -> None:
        self.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()


def bounded(
    most: int, head_seconds: float = HEAD_SECONDS, request_seconds: float = REQUEST_SECONDS
) -> type[BoundedProtocol]:
    """Return the protocol for one server.

    Parameters
    ----------
    most : int
        Connections that are kept.
    head_seconds, request_seconds : float
        Seconds for the headers of a request, and for the rest until the end of its answer.
    """

    class Bounded(BoundedProtocol):
        waiting: ClassVar[dict[BoundedProtocol, None]] = {}

    Bounded.most, Bounded.head_seconds, Bounded.request_seconds = (
        most,
        head_seconds,
        request_seconds,
    )
    return Bounded


class FewLines(logging.Filter):
    """A filter that passes a few lines per minute and counts the rest: anyone can cause them."""

    def __init__(self, lines: int = _LINES, window: float = _WINDOW) -> None:
        super().__init__()
        self._lines, self._window = lines, window
        self._start, self._count = time.monotonic(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        now = time.monotonic()
        if now - self._start >= self._window:
            left_out = self._count - self._lines
            self._start, self._count = now, 0
            if left_out > 0:
                lines = counted(left_out, "line")
                record.msg = f"{record.getMessage()} (left out before it: {lines})"
                record.args = ()
        self._count += 1
        return self._count <= self._lines

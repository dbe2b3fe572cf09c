"""Connections whose answers have a deadline, however slowly their bytes arrive.

A timeout alone bounds the wait for the next byte: a server that sends one byte a minute, in the
headers or between two chunks, would hold a download for years.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import requests
import urllib3

_NOW = threading.local()


@contextmanager
def answers_by(deadline: float) -> Iterator[None]:
    """Bound the answers to requests of this thread in the block, by monotonic time."""
    _NOW.deadline = deadline
    try:
        yield
    finally:
        _NOW.deadline = None


class _Bounded(io.RawIOBase):
    """The bytes of a socket, until the deadline."""

    def __init__(self, raw: Any, sock: socket.socket, deadline: float) -> None:
        self._raw, self._socket, self._deadline = raw, sock, deadline
        self._timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        if self._timeout is None or left < self._timeout:
            self._socket.settimeout(left)
        found: int | None = self._raw.readinto(buffer)
        return found

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: Any, *others: Any, **named: Any) -> None:
        super().__init__(sock, *others, **named)
        deadline = getattr(_NOW, "deadline", None)
        if deadline is not None:
            self.fp = io.BufferedReader(_Bounded(self.fp.detach(), sock, deadline))


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _Answer


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Answer


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """An adapter of requests for answers that :func:`answers_by` bounds."""

    _pools: ClassVar = {"http": _HttpPool, "https": _HttpsPool}

    def init_poolmanager(self, *others: Any, **named: Any) -> None:
        """Use connections with a deadline."""
        super().init_poolmanager(*others, **named)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Use them with a proxy, too."""
        manager = super().proxy_manager_for(proxy, **named)
        manager.pool_classes_by_scheme = self._pools
        return manager

"""Connections whose answers have a deadline, and that reach only permitted addresses.

A timeout alone bounds the wait for the next byte: a server that sends one byte a minute, in the
headers or between two chunks, would hold a download for years.

A name is resolved once, and only the checked addresses are connected to: a name server that changes
its answer leads nowhere else.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import urllib3

from headstart.downloads.reach import Reach, reach_of_addresses, reach_of_name

_NOW = threading.local()


class ForbiddenAddressError(Exception):
    """A request would reach a forbidden address; nothing was sent."""


@dataclass
class Terms:
    """The terms of a request.

    Attributes
    ----------
    deadline : float
        Monotonic time at which its answer has to be complete.
    least : Reach
        The narrowest reach of an address that it may connect to.
    reached : Reach or None
        The reach of the connected address; None if a proxy connects, and the name does not show it.
    """

    deadline: float
    least: Reach = Reach.MACHINE
    reached: Reach | None = None

    def admit(self, reach: Reach) -> None:
        """Record the reach of an address; raise ForbiddenAddressError if it is too narrow."""
        if reach < self.least:
            raise ForbiddenAddressError
        self.reached = reach


@contextmanager
def on_terms(terms: Terms) -> Iterator[None]:
    """Apply these terms to the requests of this thread in the block, and to their answers."""
    _NOW.terms = terms
    try:
        yield
    finally:
        _NOW.terms = None


def _terms() -> Terms | None:
    return getattr(_NOW, "terms", None)


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
        if (terms := _terms()) is not None:
            self.fp = io.BufferedReader(_Bounded(self.fp.detach(), sock, terms.deadline))


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _Answer


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Answer


class _Checked(urllib3.connection.HTTPConnection):
    """A connection without a proxy: all its addresses are checked before one is connected to."""

    def _new_conn(self) -> socket.socket:
        if (terms := _terms()) is None:
            return super()._new_conn()
        name = self._dns_host
        addresses = self._resolved(name)
        terms.admit(reach_of_addresses(addresses))
        *others, last = addresses
        try:
            for address in others:
                self._dns_host = address  # to connect to; Host and SNI keep the name
                try:
                    return super()._new_conn()
                except (
                    urllib3.exceptions.NewConnectionError,
                    urllib3.exceptions.ConnectTimeoutError,
                ):
                    continue
            self._dns_host = last
            return super()._new_conn()
        finally:
            self._dns_host = name

    def _resolved(self, name: str) -> list[str]:
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise urllib3.exceptions.LocationParseError(name) from error
        return [_numeric(address) for *_, address in found]

    def request(self, *others: Any, **named: Any) -> None:
        """Check a reused connection, which an earlier request was allowed to open."""
        if (terms := _terms()) is not None and self.sock is not None:
            terms.admit(reach_of_addresses([self.sock.getpeername()[0]]))
        super().request(*others, **named)


def _numeric(address: Any) -> str:
    """Return the text of an address; a link-local one of IPv6 needs its interface."""
    text, _, *more = address
    return f"{text}%{more[1]}" if len(more) > 1 and more[1] and "%" not in text else str(text)


class _CheckedHttpConnection(_Checked, _HttpConnection):
    pass


class _CheckedHttpsConnection(_Checked, _HttpsConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _CheckedHttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _CheckedHttpConnection


class _CheckedHttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _CheckedHttpsConnection


class Adapter(requests.adapters.HTTPAdapter):
    """An adapter of requests that keeps to the terms of :func:`on_terms`."""

    _direct: ClassVar = {"http": _CheckedHttpPool, "https": _CheckedHttpsPool}
    #: The proxy is connected to, which decides where to: only what a name says can be checked.
    _by_proxy: ClassVar = {"http": _HttpPool, "https": _HttpsPool}

    def init_poolmanager(self, *others: Any, **named: Any) -> None:
        """Use connections that keep to the terms."""
        super().init_poolmanager(*others, **named)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        """Use connections with a deadline."""
        manager = super().proxy_manager_for(proxy, **named)
        manager.pool_classes_by_scheme = self._by_proxy
        return manager

    def send(self, request: requests.PreparedRequest, *others: Any, **named: Any) -> Any:
        """Check the name before connecting."""
        reach = reach_of_name(urlsplit(request.url or "").hostname or "")
        if (terms := _terms()) is not None and reach is not None:
            terms.admit(reach)
        return super().send(request, *others, **named)

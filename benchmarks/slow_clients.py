"""Clients that never finish their headers: so many connections, each kept alive by a slow drip."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_START = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
_DRIP, _SECONDS = b"X: y\r\n", 2.0
#: In each round one of so many is opened again, before the service's deadline of ten seconds.
_TURNS = 4


@contextlib.contextmanager
def slow_clients(url: str, count: int) -> Iterator[list[int]]:
    """Hold so many connections during the block; yield a list of how many were held in each round.

    Each sends a line of headers every two seconds, and is opened again in time.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    held = [_opened(address) for _ in range(count)]
    rounds = [sum(each is not None for each in held)]
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(_SECONDS):
            rounds.append(sum(_dripped(connection) for connection in held))
            for place in range(len(rounds) % _TURNS, count, _TURNS):
                if (old := held[place]) is not None:
                    old.close()
                held[place] = _opened(address)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield rounds
    finally:
        ended.set()
        thread.join()
        for connection in held:
            if connection is not None:
                connection.close()


def _opened(address: tuple[str, int]) -> socket.socket | None:
    with contextlib.suppress(OSError):
        connection = socket.create_connection(address, 10)
        connection.sendall(_START)
        return connection
    return None


def _dripped(connection: socket.socket | None) -> bool:
    """Send a line; return whether the other side still holds the connection."""
    if connection is None:
        return False
    try:
        connection.sendall(_DRIP)
    except OSError:
        return False
    return True

"""Clients that never finish their headers: so many connections, each kept alive by a slow drip.

    python -m benchmarks.slow_clients URL COUNT

holds them until its standard input ends, and prints how many were held in each round. They are a
process of their own, so that they take no time of the interpreter that measures others.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

_START = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
_DRIP, _SECONDS = b"X: y\r\n", 2.0
#: In each round one of so many is opened again, before the service's deadline of ten seconds.
_TURNS = 4


@contextlib.contextmanager
def slow_clients(url: str, count: int) -> Iterator[list[int]]:
    """Hold so many connections during the block; yield a list of how many were held in each round.

    The list is filled when the block ends. Each connection sends a line of headers every two
    seconds, and is opened again in time.
    """
    rounds: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.slow_clients", url, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the slow clients have no pipes")
        try:
            rounds.append(json.loads(process.stdout.readline()))  # all are open
            yield rounds
        finally:
            process.stdin.close()
            rounds += [json.loads(line) for line in process.stdout]
    if process.returncode:
        raise RuntimeError(f"the slow clients ended with {process.returncode}")


def _hold(url: str, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    held = [_opened(address) for _ in range(count)]
    print(sum(each is not None for each in held), flush=True)
    number = 1
    while not select.select([sys.stdin], [], [], _SECONDS)[0]:
        print(sum(_dripped(connection) for connection in held), flush=True)
        number += 1
        for place in range(number % _TURNS, count, _TURNS):
            if (old := held[place]) is not None:
                old.close()
            held[place] = _opened(address)


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


if __name__ == "__main__":
    _hold(sys.argv[1], int(sys.argv[2]))

"""Run the service until SIGINT or SIGTERM, which let it finish the requests in progress."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI

from headstart._utils.errors import HeadstartError
from headstart.serving.connections import FewLines, bounded, most_connections
from headstart.serving.service import LOG

_GRACE = 20  # seconds for the requests in progress
_BACKLOG = 512
_M_MMAP_THRESHOLD, _OF_ITS_OWN = -3, 1 << 20  # bytes of a block that is mapped by itself


def serve(app: FastAPI, host: str, port: int, lines: Sequence[str] = ()) -> None:
    """Answer requests at ``host`` and ``port``; 0 means any free port, which is then printed.

    Parameters
    ----------
    app : FastAPI
    host : str
    port : int
    lines : sequence of str
        Printed below the address, which replaces ``{address}`` in them.

    Raises
    ------
    HeadstartError
        If the address cannot be used.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=bounded(most_connections()),
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
        backlog=_BACKLOG,
    )
    for logger in ("uvicorn.error", "asyncio", LOG.name):
        logging.getLogger(logger).addFilter(FewLines())
    _give_memory_back()
    with _bound(host, port) as listener, _patient_signals():
        _Server(config, listener, lines).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """A server that prints its address when it is ready."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, lines: Sequence[str]
    ) -> None:
        super().__init__(config)
        self._listener, self._lines = listener, lines

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the addresses."""
        await super().startup(sockets=sockets)
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}"
        lines = [line.replace("{address}", address) for line in self._lines]
        said = [f"Serving at {address} (Ctrl-C stops it).", *lines]
        print("\n".join(said), file=sys.stderr, flush=True)


def _give_memory_back() -> None:
    """Let glibc return the memory of each large image to the system as soon as it is freed.

    Its own threshold grows with the largest block that was freed, and smaller blocks stay in the
    process.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OF_ITS_OWN)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise HeadstartError(
            f"The service cannot listen on {host}, port {port}: {error.strerror or error}. If "
            "another program uses the port, choose another (--port 8502; 0: any free one)."
        ) from error


@contextlib.contextmanager
def _patient_signals() -> Iterator[None]:
    """End the service in an orderly way on a signal.

    uvicorn finishes its requests and then raises the signal again for the previous handler. The
    default handler kills the process, with a traceback for Ctrl-C.
    """
    names = [signal.SIGINT, signal.SIGTERM]
    before = {name: signal.signal(name, lambda *_: None) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)

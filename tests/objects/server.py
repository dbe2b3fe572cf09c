"""A server that speaks S3 (moto) on this machine, and misbehaves on order."""

from __future__ import annotations

import itertools
import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("moto", reason="needs the development requirements")
pytest.importorskip("s3fs", reason="needs the extra `s3`")

from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from headstart.downloads.client import RetryPolicy
from headstart.objects.place import Place
from headstart.objects.store import ObjectStore, open_store

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Fault = Callable[[App, dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: Bounds that a test can wait for.
QUICK = RetryPolicy(attempts=3, pause=0.01, connect=20.0, read=20.0, total=100.0)
PATIENT = RetryPolicy(read=100.0)
_buckets = itertools.count()


class Server:
    """The address of the server, the requests that it has seen, and its behavior."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[str] = []
        #: Returns a fault for a request ("GET /bucket/key?query"), or None.
        self.fault: Callable[[str], Fault | None] = lambda _: None
        self._own: Any = None
        self._app = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING")
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{'?' if query else ''}{query}"
        self.seen.append(request)
        fault = self.fault(request)
        answer: Iterable[bytes] = (
            self._app(environ, start) if fault is None else fault(self._app, environ, start)
        )
        return answer

    def gets(self) -> list[str]:
        """The keys that were read, with their bucket."""
        found = [each.partition(" ")[2] for each in self.seen if each.startswith("GET ")]
        return [each for each in found if "list-type" not in each]

    def place(self, files: Mapping[str, bytes], prefix: str = "", **options: Any) -> Place:
        """Put files into a new bucket, below a prefix; return the address."""
        bucket = f"bucket-{next(_buckets)}"
        place = Place(f"s3://{bucket}/{prefix}".rstrip("/"), self.url, **options)
        self.call("create_bucket", Bucket=bucket)
        self.put(place, files)
        return place

    def put(self, place: Place, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            key = f"{place.key}/{path}" if place.key else path
            self.call("put_object", Bucket=place.bucket, Key=key, Body=content)

    def delete(self, place: Place, path: str) -> None:
        key = f"{place.key}/{path}" if place.key else path
        self.call("delete_object", Bucket=place.bucket, Key=key)

    def call(self, name: str, **named: Any) -> Any:
        fault, self.fault = self.fault, lambda _: None
        self._own = self._own or open_store(Place("s3://any", self.url), PATIENT)
        try:
            return self._own._call(name, named)
        finally:
            self.fault = fault
            self.seen.clear()


def store_of(place: Place, policy: RetryPolicy = QUICK) -> ObjectStore:
    return open_store(place, policy)


@contextmanager
def serving() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = Server()
    made = make_server("127.0.0.1", 0, server, threaded=True)
    server.url = f"http://127.0.0.1:{made.server_port}"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
        BackendDict.reset()


def error(status: int, code: str, message: str = "as ordered", **more: str) -> Fault:
    """An error as S3 words it."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{inner}</Error>".encode()

    def answer(_: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start(f"{status} {code}", [("Content-Type", "application/xml")])
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []

    return answer


def slow(seconds: float) -> Fault:
    """The right answer, too late."""

    def answer(app: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(seconds)
        return app(environ, start)

    return answer


def reset(_: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """A connection that is reset."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    start("200 OK", [])
    return []


def cut(app: App, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """A body that ends in the middle."""
    content = b"".join(app(environ, start))
    return [content[: len(content) // 2]]


def unreliable(share: float, late: float, seed: int = 0) -> Callable[[str], Fault | None]:
    """A share of all requests fails, in every way in turn."""
    chance, lock = random.Random(seed), threading.Lock()
    ways = itertools.cycle(
        [error(500, "InternalError"), error(503, "SlowDown"), reset, cut, slow(late),
         error(503, "ServiceUnavailable")]
    )  # fmt: skip

    def fault(_: str) -> Fault | None:
        with lock:
            return next(ways) if chance.random() < share else None

    return fault

"""A web server on this machine that misbehaves on order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Request:
    """One request and the means to answer it, well or badly."""

    def __init__(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        self._handler = handler
        self.number = number
        self.path = handler.path
        self.headers = handler.headers
        self.method = handler.command
        self.body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))

    @property
    def start(self) -> int:
        """First byte that is asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def answer(
        self, status: int, body: bytes = b"", *, cut: int | None = None, **headers: str
    ) -> None:
        """Send an answer; ``cut`` ends the connection after so many bytes of the body."""
        self._handler.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "no_length" not in headers:
            named.setdefault("Content-Length", str(len(body)))
        named.pop("no-length", None)
        for name, value in named.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self._handler.wfile.write(body if cut is None else body[:cut])

    def raw(self, content: bytes) -> None:
        """Send these bytes and nothing else, whether they are HTTP or not."""
        self._handler.wfile.write(content)

    def serve(self, content: bytes, *, cut: int | None = None, etag: str = '"v1"') -> None:
        """Answer as an honest server does, Range and If-Range included."""
        start = self.start
        condition = self.headers.get("If-Range")
        if not start or (condition is not None and condition != etag):
            self.answer(200, content, cut=cut, ETag=etag)
        elif start >= len(content):
            self.answer(416)
        else:
            named = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self.answer(206, content[start:], cut=cut, ETag=etag, **named)


@contextmanager
def serving(behave: Callable[[Request], None]) -> Iterator[tuple[str, list[Request]]]:
    """The address of a server that answers by ``behave``, and the requests it has seen."""
    seen: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = Request(self, len(seen) + 1)
            seen.append(request)
            behave(request)
            self.close_connection = True

        do_POST = do_GET  # noqa: N815 - the name that the library looks for

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

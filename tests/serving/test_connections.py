"""Clients that hold connections, send nonsense or large images cost the service little."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits, inspect
from headstart.serving import connections
from headstart.serving.connections import FewLines, bounded, most_connections
from tests.images.made import encoded, pixels, png
from tests.serving import models
from tests.serving.process import Running, client, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("connections")
    with running(models.shared(tmp_path_factory), folder, "--name=colors") as running_service:
        yield running_service


def connected(address: str, sent: bytes = b"") -> socket.socket:
    parts = urlsplit(address)
    made = socket.create_connection((parts.hostname, parts.port), 10)
    made.settimeout(30)
    made.sendall(sent)
    return made


def closed(connection: socket.socket) -> bool:
    """Return whether the other side ends the connection."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request; the path /slow never."""
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@contextmanager
def small(most: int, head: float = 60.0, request: float = 60.0) -> Iterator[str]:
    """A server in this process with these bounds; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        hello, http=bounded(most, head, request), log_config=None, lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.force_exit = True
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


HEADS = [
    b"", b"POST /predict HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /",
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_headers_have_a_deadline(head: bytes) -> None:
    with small(100, head=0.5) as address, connected(address, head) as connection:
        start = time.monotonic()
        assert closed(connection)
        assert 0.2 < time.monotonic() - start < 5


def test_headers_that_drip_have_a_deadline() -> None:
    with small(100, head=0.5) as address, connected(address, b"GET / HTTP/1.1\r\n") as connection:
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - start < 10:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)


@pytest.mark.parametrize("head", ["GET /slow HTTP/1.1", "POST / HTTP/1.1\r\nContent-Length: 5"])
def test_a_request_has_a_deadline(head: str) -> None:
    sent = f"{head}\r\nHost: x\r\n\r\n".encode()
    with small(100, request=0.5) as address, connected(address, sent) as connection:
        start = time.monotonic()
        assert closed(connection)
        assert 0.2 < time.monotonic() - start < 5


def test_one_connection_too_many_closes_the_one_that_has_waited_longest() -> None:
    with small(3) as address, ExitStack() as stack:
        held = [stack.enter_context(connected(address, b"GET / HT")) for _ in range(3)]
        time.sleep(0.2)
        newest = stack.enter_context(connected(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert newest.recv(15) == b"HTTP/1.1 200 OK"
        assert closed(held[0])
        held[1].sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert held[1].recv(15) == b"HTTP/1.1 200 OK"


def test_connections_that_are_answered_stay() -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    with small(2) as address, ExitStack() as stack:
        held = [stack.enter_context(connected(address, slow)) for _ in range(2)]
        time.sleep(0.2)
        with connected(address, b"") as newest:
            assert closed(newest)
        for connection in held:
            connection.settimeout(0.1)
            assert not closed(connection)


def test_a_connection_is_used_again() -> None:
    with small(3, head=1.0, request=1.0) as address, httpx.Client(trust_env=False) as http:
        start = time.monotonic()
        while time.monotonic() - start < 2:
            assert http.get(address).text == "hello"
            time.sleep(0.2)


def test_requests_are_answered_while_a_thousand_connections_wait(service: Running) -> None:
    image = models.colored("red")

    def ask(_: int) -> int:
        with client(service) as http:
            answers = [http.post("/predict", files={"f": image}) for _ in range(5)]
        return sum(answer.status_code == 200 for answer in answers)

    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(connected(service.address, b"POST /predict HTTP/1.1\r\nX: "))
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(16))) == [5] * 16


def test_the_bound_is_below_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    assert most_connections() == 1024 - connections._OWN_FILES
    assert given == [(1024, 1024)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert most_connections() == connections._MOST
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    assert most_connections() == 16


def test_nonsense_does_not_flood_the_log(service: Running) -> None:
    before = len(service.log)
    for _ in range(300):
        with connected(service.address, b"\x16\x03\x01nonsense\r\n\r\n") as connection:
            assert closed(connection)
    assert len(service.log) - before < 5000
    with client(service) as http:
        assert http.get("/healthz").status_code == 200


def test_lines_are_counted_that_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("headstart.serving.connections.time.monotonic", lambda: now[0])
    few = FewLines(lines=3, window=60)

    def passes() -> str | None:
        record = logging.LogRecord("x", logging.WARNING, "", 0, "bad %s", ("request",), None)
        return record.getMessage() if few.filter(record) else None

    assert [passes() for _ in range(5)] == ["bad request"] * 3 + [None] * 2
    now[0] = 61.0
    assert passes() == "bad request (left out before it: 2 lines)"
    assert passes() == "bad request"


def test_memory_is_given_back_after_large_images(service: Running) -> None:
    status = Path(f"/proc/{service.process.pid}/status")
    if not status.exists():
        pytest.skip("only Linux says how much memory a process has")

    def resident() -> float:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1000  # MB

    large = encoded(Image.new("RGB", (6000, 6000), "red"), "PNG", compress_level=1)
    with client(service) as http:
        http.post("/predict", files={"f": models.colored("red")})
        before = resident()
        for _ in range(2):
            with ThreadPoolExecutor(4) as pool:
                several = [pool.submit(http.post, "/predict", files={"f": large}) for _ in range(4)]
                assert {one.result().status_code for one in several} == {200}
        assert resident() - before < 60


def test_a_png_that_ends_early_is_answered_as_in_download(service: Running) -> None:
    whole = png(60, 60)
    with client(service) as http:
        for length in (*range(1, len(whole), 97), *range(len(whole) - 20, len(whole) + 1)):
            content = whole[:length]
            try:
                inspect(content, Limits())
            except ImageError as fault:
                reason = fault.reason
                with pytest.raises(ImageError, match=reason):
                    pixels(content, 32)
                answer = http.post("/predict", files={"f": content})
                assert answer.json()["results"][0]["reason"] == reason
            else:
                assert pixels(content, 32).dtype == np.uint8
                assert http.post("/predict", files={"f": content}).status_code == 200


def test_images_that_are_nearly_black_are_logged_a_few_times(service: Running) -> None:
    values = np.linspace(0, 4095, 400).reshape(20, 20).astype(np.uint16)
    with client(service) as http:
        for _ in range(40):
            content = encoded(Image.fromarray(values), "PNG")
            assert http.post("/predict", files={"f": content}).status_code == 200
    assert 1 <= service.log.count("A 16-bit image uses 12 bits") <= 20

from __future__ import annotations

import contextlib
import gzip
import socket
import time

import pytest

from headstart._utils.errors import ImageError
from headstart.downloads.client import RetryPolicy
from headstart.serving.inputs import expand, fetch
from tests.downloads.server import Request, serving
from tests.downloads.test_reach import PUBLIC, resolving
from tests.images.made import png

IMAGE = png()
MOST = 10_000


def fault(url: str, policy: RetryPolicy | None = None) -> str:
    with pytest.raises(ImageError) as error:
        fetch(url, MOST, policy)
    return str(error.value)


def test_the_body_comes_back() -> None:
    with serving(lambda request: request.serve(IMAGE)) as (url, seen):
        assert fetch(f"{url}/a.png", MOST) == IMAGE
    assert seen[0].headers["Accept-Encoding"] == "identity"


def test_a_redirect_is_followed_a_few_times() -> None:
    def behave(request: Request) -> None:
        if request.path == "/here":
            request.serve(IMAGE)
        else:
            request.answer(302, Location="/here" if request.path == "/there" else "/round")

    with serving(behave) as (url, _):
        assert fetch(f"{url}/there", MOST) == IMAGE
        assert "redirects more than 5 times" in fault(f"{url}/round")


def test_a_redirect_to_a_file_is_refused() -> None:
    with serving(lambda request: request.answer(302, Location="file:///etc/passwd")) as (url, _):
        assert fault(url).startswith("unreachable")


def test_the_words_of_the_server_are_reported() -> None:
    with serving(lambda request: request.answer(404)) as (url, _):
        assert fault(url) == "unreachable: the server answered 404 Not Found"


@pytest.mark.parametrize("status", [206, 416])
def test_a_part_that_nobody_requested_is_refused(status: int) -> None:
    with serving(lambda request: request.answer(status, IMAGE)) as (url, _):
        assert f"answered {status}" in fault(url)


def test_control_characters_are_escaped() -> None:
    def behave(request: Request) -> None:
        request.raw(b"HTTP/1.0 404 Gone \x1b[2J" + b"x" * 5000 + b"\r\n\r\n")

    with serving(behave) as (url, _):
        said = fault(url)
    assert said.startswith(r"unreachable: the server answered 404 Gone \x1b[2J")
    assert len(said) < 400


def test_a_body_that_is_too_large_is_not_read() -> None:
    with serving(lambda request: request.answer(200, b"x" * (MOST + 1))) as (url, _):
        assert fault(url) == "too_large: 10,001 bytes; at most 10,000 are accepted"


def test_a_body_without_a_length_is_limited_too() -> None:
    body = b"x" * 10 * MOST
    with serving(lambda request: request.answer(200, body, no_length="")) as (url, _):
        assert fault(url).startswith("too_large: more than 10,000 bytes")


def test_a_body_is_not_unpacked() -> None:
    packed = gzip.compress(b"\0" * 1_000_000)
    with serving(lambda request: request.answer(200, packed, Content_Encoding="gzip")) as (url, _):
        assert fetch(url, MOST) == packed


def test_a_body_that_ends_early_is_reported() -> None:
    with serving(lambda request: request.answer(200, IMAGE, cut=100)) as (url, _):
        assert fault(url).startswith("unreachable: the connection ended after")


def test_a_closed_port_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert fault(f"http://127.0.0.1:{port}/").startswith("unreachable: ConnectionRefusedError")


def test_a_silent_server_times_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        policy = RetryPolicy(attempts=1, connect=5, read=0.2, total=5)
        said = fault(f"http://127.0.0.1:{silent.getsockname()[1]}/", policy)
    assert said.startswith("unreachable")


def test_an_address_without_a_host_is_reported() -> None:
    assert fault("http://").startswith("unreachable")


def test_a_redirect_to_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"files.example": [[PUBLIC]]})
    with serving(lambda request: request.answer(302, Location="http://169.254.169.254/")) as found:
        port = found[0].rpartition(":")[2]
        said = fault(f"http://files.example:{port}/a.png")
    assert said.startswith("unreachable: it redirects to 169.254.169.254")


def test_headers_that_drip_are_bounded() -> None:
    def behave(request: Request) -> None:
        request.raw(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(OSError):
            for _ in range(100):
                time.sleep(0.05)
                request.raw(b"x")

    start = time.monotonic()
    with serving(behave) as (url, _):
        policy = RetryPolicy(attempts=1, connect=5, read=5, total=0.3)
        assert "not complete within" in fault(url, policy)
        assert time.monotonic() - start < 3


def test_an_input_is_named_without_its_credentials() -> None:
    words = ["https://jane:hunter2@a.org/x.png?id=3&sig=abc&Token=t0p"]
    found = expand(words).inputs[0]
    assert found.place == words[0]
    assert found.name.startswith("https://…@a.org/x.png?id=3&sig=…")
    assert not [secret for secret in ("hunter2", "abc", "t0p") if secret in found.name]

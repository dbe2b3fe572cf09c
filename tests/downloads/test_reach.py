"""A redirect does not lead to this machine or its network, unless the source is there itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any
from urllib.parse import urlsplit

import pytest

from headstart.downloads.client import DownloadError, HttpClient, RetryPolicy
from headstart.downloads.reach import Reach, reach_of_addresses, reach_of_name
from tests.downloads.server import Request, serving

PUBLIC = "93.184.215.14"
QUICK = RetryPolicy(attempts=1, connect=2, read=1, total=5)
MACHINE = (
    "http://127.0.0.1/", "http://127.8.9.1:80/", "http://127.1/", "http://2130706433/",
    "http://0x7f.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/",
    "http://localhost/", "http://LOCALHOST./", "http://a.localhost/",
    "http://169.254.169.254/latest/meta-data/", "http://[fe80::1%25eth0]/",
)  # fmt: skip
NETWORK = ("http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://[fd00::1]/")
WORLD = (f"http://{PUBLIC}/", "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/")


def resolving(
    monkeypatch: pytest.MonkeyPatch, names: Mapping[str, Iterable[list[str]]]
) -> list[str]:
    """Answer questions for these names, one answer after the other, the last one ever after.

    A connection to a public address goes to 127.0.0.1. Returns the questions, as they are asked.
    """
    real, asked = socket.getaddrinfo, list[str]()
    answers = {
        name: chain(each[:-1], repeat(each[-1]))
        for name, each in ((name, list(each)) for name, each in names.items())
    }

    def fake(host: Any, port: Any, *others: Any, **named: Any) -> Any:
        if host in answers:
            asked.append(host)
            found = next(answers[host])
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port or 0)) for ip in found]
        return real("127.0.0.1" if host == PUBLIC else host, port, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    monkeypatch.setenv("NO_PROXY", "*")
    return asked


@pytest.mark.parametrize(
    ("reach", "urls"),
    [(Reach.MACHINE, MACHINE), (Reach.NETWORK, NETWORK), (Reach.WORLD, WORLD)],
)
def test_the_reach_of_an_address(reach: Reach, urls: tuple[str, ...]) -> None:
    found = {url: reach_of_name(urlsplit(url).hostname or "") for url in urls}
    assert found == dict.fromkeys(urls, reach)


def test_a_name_counts_as_its_narrowest_address() -> None:
    assert reach_of_name("files.example") is None
    assert reach_of_addresses([PUBLIC, "127.0.0.1"]) is Reach.MACHINE
    assert reach_of_addresses([PUBLIC, "fd00::1"]) is Reach.NETWORK
    assert reach_of_addresses([PUBLIC]) is Reach.WORLD


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("host", ["127.0.0.1", "inside.example"])
def test_a_public_source_cannot_send_us_to_this_machine(
    host: str, hops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, {"files.example": [[PUBLIC]], "inside.example": [["127.0.0.1"]]})

    def behave(request: Request) -> None:
        if request.path == "/secret":
            request.serve(b"secret")
        elif request.number < hops:
            request.answer(302, Location=f"/hop{request.number}")
        else:
            request.answer(302, Location=f"http://{host}:{port}/secret")

    with serving(behave) as (url, seen), HttpClient(QUICK) as client:
        port = url.rpartition(":")[2]
        with pytest.raises(DownloadError, match=f"redirects to {host}, an address of this") as said:
            client.read(f"http://files.example:{port}/a", 100)
        assert "/secret" not in [request.path for request in seen]
        # The remedy of the message: an address that is named itself is read.
        assert "name that address itself" in said.value.advice
        assert client.read(f"http://{host}:{port}/secret", 100) == b"secret"


@pytest.mark.parametrize("who", ["source", "target"])
def test_a_name_whose_addresses_change_leads_nowhere_else(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is resolved once: the address that was checked is the one connected to."""
    changing = [[PUBLIC], ["127.0.0.1"]]
    names = {
        "files.example": changing if who == "source" else [[PUBLIC]],
        "other.example": changing if who == "target" else [["127.0.0.1"]],
    }
    asked = resolving(monkeypatch, names)

    def behave(request: Request) -> None:
        hosts.append(request.headers["Host"])
        if request.path == "/a":
            request.answer(302, Location=f"http://other.example:{port}/b")
        else:
            request.serve(b"b")

    with serving(behave) as (url, _), HttpClient(QUICK) as client:
        port, hosts = url.rpartition(":")[2], list[str]()
        if who == "source":  # the reach of the source is that of the address that answered
            with pytest.raises(DownloadError, match=r"redirects to other\.example, an address"):
                client.read(f"http://files.example:{port}/a", 100)
        else:
            assert client.read(f"http://files.example:{port}/a", 100) == b"b"
        assert asked == ["files.example", "other.example"]
        sent = ["files.example"] if who == "source" else asked
        assert hosts == [f"{name}:{port}" for name in sent]


def test_one_narrow_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"files.example": [[PUBLIC]], "two.example": [[PUBLIC, "10.0.0.1"]]})

    def behave(request: Request) -> None:
        request.answer(302, Location=f"http://two.example:{port}/b")

    with serving(behave) as (url, seen), HttpClient(QUICK) as client:
        port = url.rpartition(":")[2]
        with pytest.raises(DownloadError, match=r"redirects to two\.example, an address"):
            client.read(f"http://files.example:{port}/a", 100)
        assert len(seen) == 1


def test_a_connection_that_is_kept_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"files.example": [[PUBLIC]], "inside.example": [["127.0.0.1"]]})
    paths = list[str]()

    def behave(stream: socket.socket) -> None:
        with stream:
            while path := stream.recv(65536).partition(b" ")[2].partition(b" ")[0].decode():
                paths.append(path)
                location = f"Location: http://inside.example:{port}/secret\r\n"
                status = f"302 Found\r\n{location}" if path == "/a" else "200 OK\r\n"
                stream.sendall(f"HTTP/1.1 {status}Content-Length: 1\r\n\r\nx".encode())

    with listening(behave) as port, HttpClient(QUICK) as client:
        assert client.read(f"http://inside.example:{port}/mine", 100) == b"x"
        with pytest.raises(DownloadError, match=r"redirects to inside\.example"):
            client.read(f"http://files.example:{port}/a", 100)
        assert client.read(f"http://inside.example:{port}/again", 100) == b"x"
    assert paths == ["/mine", "/a", "/again"]


def test_an_address_that_does_not_answer_is_followed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing listens on the other address of this machine.
    resolving(monkeypatch, {"files.example": [["127.0.0.2", "127.0.0.1"]]})
    with serving(lambda request: request.serve(b"b")) as (url, _), HttpClient(QUICK) as client:
        assert client.read(f"http://files.example:{url.rpartition(':')[2]}/a", 100) == b"b"


def test_the_name_is_kept_for_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"files.example": [[PUBLIC]]})
    hello = list[bytes]()

    def behave(stream: socket.socket) -> None:
        with stream:
            hello.append(stream.recv(65536))

    with (
        listening(behave) as port,
        HttpClient(QUICK) as client,
        pytest.raises(DownloadError),
    ):
        client.read(f"https://files.example:{port}/a", 100)
    assert b"files.example" in hello[0]


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server that handles each connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = list[threading.Thread]()

        def accept() -> None:
            while True:
                try:
                    stream, _ = server.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=behave, args=(stream,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def test_the_body_of_a_redirect_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")

    def behave(request: Request) -> None:
        if request.path == "/b":
            request.serve(b"image")
        else:
            request.answer(302, b"x", Location="/b", Content_Length="1000000000")

    with serving(behave) as (url, _), HttpClient(QUICK) as client:
        assert client.read(f"{url}/a", 100) == b"image"

"""A redirect does not lead to this machine or its network, unless the source is there itself."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from headstart.downloads.client import DownloadError, HttpClient, RetryPolicy
from headstart.downloads.reach import Reach, allowed, reach_of
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


def resolving(monkeypatch: pytest.MonkeyPatch, names: Mapping[str, list[str]]) -> None:
    """Answer questions for these names; a connection to them goes to 127.0.0.1."""
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, *others: Any, **named: Any) -> Any:
        if host in names and port is None:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in names[host]]
        return real("127.0.0.1" if host in names else host, port, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize(
    ("reach", "urls"),
    [(Reach.MACHINE, MACHINE), (Reach.NETWORK, NETWORK), (Reach.WORLD, WORLD)],
)
def test_the_reach_of_an_address(reach: Reach, urls: tuple[str, ...]) -> None:
    assert {url: reach_of(url) for url in urls} == dict.fromkeys(urls, reach)


def test_a_name_counts_as_its_narrowest_address(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"two.example": [PUBLIC, "127.0.0.1"], "one.example": [PUBLIC]})
    assert reach_of("https://two.example/x") is Reach.MACHINE
    assert reach_of("https://one.example/x") is Reach.WORLD


def test_a_redirect_leads_to_the_same_reach_or_up() -> None:
    ordered = (MACHINE[0], NETWORK[0], WORLD[0])
    for place, source in enumerate(ordered):
        assert [allowed(source, target) for target in ordered] == [
            number >= place for number in range(3)
        ]


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize("host", ["127.0.0.1", "inside.example"])
def test_a_public_source_cannot_send_us_to_this_machine(
    host: str, hops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, {"files.example": [PUBLIC], "inside.example": ["127.0.0.1"]})

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


def test_the_body_of_a_redirect_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")

    def behave(request: Request) -> None:
        if request.path == "/b":
            request.serve(b"image")
        else:
            request.answer(302, b"x", Location="/b", Content_Length="1000000000")

    with serving(behave) as (url, _), HttpClient(QUICK) as client:
        assert client.read(f"{url}/a", 100) == b"image"

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware

from headstart.serving.guard import Guard

OTHER = "https://pages.example"


class Site:
    """A service with one route behind the guard."""

    def __init__(self, *hosts: str, origins: tuple[str, ...] = ()) -> None:
        self.app = FastAPI(middleware=[Middleware(Guard, hosts=hosts, origins=origins)])

        async def fine() -> str:
            return "fine"

        self.app.add_api_route("/", fine, methods=["GET", "POST"])

    def ask(self, method: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            base = "http://127.0.0.1:8501"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, "/", headers=headers)

        return asyncio.run(asked())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8501",
        "localhost",
        "LOCALHOST:1",
        "[::1]:8501",
        "192.168.7.7:8501",
        socket.gethostname(),
        "models.example:80",
    ],
)
def test_names_of_this_machine_are_let_in(host: str) -> None:
    assert Site("Models.example").ask("GET", {"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8501", "localhost.evil", ""]
)
def test_other_names_are_not(host: str) -> None:
    answer = Site().ask("GET", {"host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["error"]


def test_any_name_is_accepted_with_a_star() -> None:
    assert Site("*").ask("GET", {"host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_others_compute_nothing(headers: dict[str, str]) -> None:
    assert Site().ask("POST", headers).status_code == 403
    assert Site().ask("GET", headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8501", "sec-fetch-site": "same-origin"},
        {"origin": OTHER, "sec-fetch-site": "cross-site"},
    ],
)
def test_programs_our_page_and_allowed_pages_do(headers: dict[str, str]) -> None:
    assert Site(origins=(OTHER,)).ask("POST", headers).status_code == 200


def test_every_answer_carries_the_policy() -> None:
    for answer in (Site().ask("GET"), Site().ask("GET", {"host": "evil.example"})):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"

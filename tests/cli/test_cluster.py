"""`headstart cluster`: the options that Dask's programs get, which decide who can reach them."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from typing import Any

import pytest

from tests.cli.running import run


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines by which the process would have been replaced."""
    found: list[list[str]] = []

    def execv(program: str, arguments: list[str]) -> None:
        assert program == sys.executable
        found.append(arguments[1:])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    return found


def started(become: list[list[str]], *arguments: str) -> list[str]:
    run("cluster", *arguments)
    [command] = become
    return command


def test_the_scheduler_listens_on_loopback_by_default(become: list[list[str]]) -> None:
    command = started(become, "scheduler")
    assert command[:2] == ["-m", "distributed.cli.dask_scheduler"]
    assert "--host=127.0.0.1" in command
    assert "--port=8786" in command
    assert "--no-dashboard" in command
    assert "--dashboard-address=127.0.0.1:0" in command


def test_the_scheduler_on_another_address_with_options_of_dask(become: list[list[str]]) -> None:
    command = started(
        become, "scheduler", "--host", "10.0.0.5", "--port", "9000", "--", "--tls-ca-file", "ca.pem"
    )
    assert "--host=10.0.0.5" in command
    assert "--port=9000" in command
    assert command[-2:] == ["--tls-ca-file", "ca.pem"]


def test_a_worker_listens_where_the_scheduler_is_reached_from(become: list[list[str]]) -> None:
    command = started(become, "worker", "--processes", "3")
    assert command[:3] == ["-m", "distributed.cli.dask_worker", "tcp://127.0.0.1:8786"]
    for option in ("--host=127.0.0.1", "--nworkers=3", "--nthreads=1", "--no-dashboard"):
        assert option in command
    assert "--dashboard-address=127.0.0.1:0" in command


def test_a_worker_with_options_of_dask(become: list[list[str]]) -> None:
    command = started(
        become, "worker", "tls://127.0.0.1:9000", "--host", "10.0.0.6", "--", "--no-nanny"
    )
    assert command[2] == "tls://127.0.0.1:9000"
    assert "--host=10.0.0.6" in command
    assert command[-1] == "--no-nanny"


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://127.0.0.1", "http://a:1"])
def test_a_wrong_address(address: str, become: list[list[str]]) -> None:
    shown = run("cluster", "worker", address, code=2)
    assert f"Got '{address}' instead. Nothing was started." in shown
    assert not become


def test_a_scheduler_that_has_no_route(
    become: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    shown = run("cluster", "worker", "tcp://nowhere.invalid:8786", code=1)
    assert "cannot be reached: Name or service not known. Nothing was started." in shown


def test_without_the_extra(become: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    shown = run("cluster", "scheduler", code=1)
    assert "needs the extra `cluster`" in shown
    assert "headstart[cluster]" in shown
    assert not become

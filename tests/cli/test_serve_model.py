"""What the command refuses before it serves; the service itself is in tests/serving."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headstart.cli.app import app
from headstart.serving.server import is_loopback
from tests.conftest import ROOT
from tests.serving import models
from tests.serving.process import client, running


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


def serve(*words: str) -> Result:
    return CliRunner().invoke(app, ["serve-model", *words])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "uvicorn" else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    result = serve()
    assert result.exit_code == 1
    assert "needs the extra `serving`, of which uvicorn" in result.stderr


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    result = serve(f"--model={tmp_path}", "--port=0")
    assert result.exit_code == 1
    assert "not an exported model" in result.stderr


def test_a_name_that_cannot_stand_in_an_address_is_refused(colors: Path) -> None:
    result = serve(f"--model={colors}", "--name=a/b")
    assert result.exit_code == 1
    assert "Got 'a/b'" in result.stderr


def test_an_occupied_port_is_an_error(colors: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = serve(f"--model={colors}", f"--port={taken.getsockname()[1]}")
    assert result.exit_code == 1
    assert "cannot listen on 127.0.0.1" in result.stderr


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - asked about, not listened at
        ("192.168.1.2", False),
        ("some.name", False),
    ],
)
def test_loopback_addresses_are_recognized(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


def test_listening_elsewhere_is_warned_of(colors: Path, tmp_path: Path) -> None:
    with running(colors, tmp_path, "--host=0.0.0.0") as service:
        assert "Warning: other machines can reach 0.0.0.0" in service.log
    with running(colors, tmp_path) as service, client(service) as http:
        assert "Warning" not in service.log
        assert service.address.startswith("http://127.0.0.1:")
        assert http.get("/").status_code == 200


@pytest.mark.parametrize("command", ["predict", "serve-model"])
def test_the_help_stays_cheap(command: str) -> None:
    code = f"import sys\nfrom headstart.cli.app import app\ntry: app(['{command}', '--help'])\n\
finally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heavy = {"numpy", "pandas", "PIL", "fastapi", "uvicorn", "tensorflow", "ai_edge_litert"}
    assert not heavy & set(done.stderr.split())

"""Files of Keras: found, downloaded from a server that misbehaves, and read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart.backbones import downloads
from headstart.downloads.client import RetryPolicy
from headstart.keras.networks import keras_files
from headstart.keras.networks.keras_files import find_or_download

CONTENT = bytes(range(256)) * 8192  # 2 MiB
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server:
    """Answers request number i with the i-th step, and every later one with the last."""

    def __init__(self) -> None:
        self.steps: list[str] = ["fine"]
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                step = outer.steps[min(len(outer.requests), len(outer.steps) - 1)]
                outer.requests.append(self.path)
                if step.isdigit():
                    self.send_error(int(step))
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                if step == "stall":
                    self.wfile.write(CONTENT[:1000])
                    self.wfile.flush()
                    outer.stalled.wait(5)
                    return
                content = CONTENT[::-1] if step == "other" else CONTENT
                self.wfile.write(content[: len(CONTENT) // 2] if step == "cut" else content)

            def log_message(self, *_: object) -> None:
                pass

        self.stalled = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/base.h5"
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.stalled.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(keras_files, "POLICY", RetryPolicy(attempts=3, pause=0.0, mismatches=3))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "keras" / "models"


@pytest.mark.parametrize("digest", [None, MD5, hashlib.sha256(CONTENT).hexdigest()])
def test_downloads_once(server: Server, home: Path, digest: str | None) -> None:
    for _ in range(2):
        found = find_or_download("base.h5", server.url, digest)
        assert found.path == home / "base.h5"
        assert found.path.read_bytes() == CONTENT
        assert found.url == server.url
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut", "other"])
def test_a_fault_is_tried_again(server: Server, home: Path, fault: str) -> None:
    server.steps = [fault, "fine"]
    assert find_or_download("base.h5", server.url, MD5).path.read_bytes() == CONTENT
    assert len(server.requests) == 2
    assert [path.name for path in home.iterdir()] == ["base.h5"]


@pytest.mark.parametrize("fault", ["500", "cut", "other"])
def test_a_lasting_fault_leaves_nothing(server: Server, home: Path, fault: str) -> None:
    server.steps = [fault]
    with pytest.raises(HeadstartError, match="could not be downloaded") as caught:
        find_or_download("base.h5", server.url, MD5)
    assert len(server.requests) == 3
    assert list(home.iterdir()) == []
    for part in (server.url, "base.h5", str(home), "random"):
        assert part in str(caught.value)


def test_not_found_is_not_tried_again(server: Server) -> None:
    server.steps = ["404"]
    with pytest.raises(HeadstartError, match="404"):
        find_or_download("base.h5", server.url, None)
    assert len(server.requests) == 1


def test_a_silent_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RetryPolicy(attempts=2, pause=0.0, read=0.3)
    monkeypatch.setattr(keras_files, "POLICY", policy)
    server.steps = ["stall", "fine"]
    assert find_or_download("base.h5", server.url, None).path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_refused_connection(server: Server, home: Path) -> None:
    server.close()
    with pytest.raises(HeadstartError, match="Connection") as caught:
        find_or_download("base.h5", server.url, None)
    assert server.url in str(caught.value)
    assert not (home / "base.h5").exists()


def test_a_file_that_is_there_needs_no_network(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "base.h5").write_bytes(b"placed by hand")
    found = find_or_download("base.h5", "http://127.0.0.1:9/base.h5", None)
    assert found.path.read_bytes() == b"placed by hand"


def test_a_cut_file_that_is_there_is_replaced(
    server: Server, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(parents=True)
    (home / "base.h5").write_bytes(CONTENT[:100])
    assert find_or_download("base.h5", server.url, MD5).path.read_bytes() == CONTENT
    assert "Replacing it" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("KERAS_HOME", str(blocker))
    with pytest.raises(HeadstartError, match="could not be written"):
        find_or_download("base.h5", server.url, None)


def test_home_is_the_users_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", "")
    assert downloads.keras_home() == Path.home() / ".keras"


def test_a_file_that_was_trained_at_another_size_is_named(server: Server, home: Path) -> None:
    server.steps = ["404"]
    models = home
    models.mkdir(parents=True, exist_ok=True)
    for name in ("128_tf", "224_tf", "224_tf_no_top.bad"):
        (models / f"mobilenet_1_0_{name}.h5").write_bytes(b"not it")
    trained = models / "mobilenet_1_0_224_tf_no_top.h5"
    trained.write_bytes(CONTENT)
    with pytest.raises(HeadstartError) as caught:
        find_or_download("mobilenet_1_0_192_tf_no_top.h5", server.url, None)
    assert "trained at 224 pixels, which works at 192" in str(caught.value)
    assert f"`backbone.weights: {trained}`" in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)

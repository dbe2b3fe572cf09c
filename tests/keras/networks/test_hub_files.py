"""Where a module comes from: folders, archives, a server and the cache that others share."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_tree
from headstart.downloads.client import RetryPolicy
from headstart.keras.networks import hub_files
from headstart.keras.networks.hub_files import copy_module
from tests.conftest import ROOT

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"numbers" * 1000,
    "assets/words.txt": b"a\nb\n",
}


def folder_of(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def archive_of(path: Path, prefix: str = "./", mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]  # any mode
        for name, content in FILES.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "kind", ["folder", "tar.gz", "tar", "tar.gz in a folder", "tar.gz in folders in folders"]
)
def test_a_folder_and_its_archives_are_the_same_module(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        source = folder_of(tmp_path / "source")
    elif kind == "tar":
        source = archive_of(tmp_path / "source.tar", mode="w")
    else:
        deep = "mobilenet/mobilenet/" if "folders" in kind else "mobilenet/"
        prefix = deep if "folder" in kind else "./"
        source = archive_of(tmp_path / "source.tar.gz", prefix)
    digest = copy_module(str(source), None, tmp_path / "target")
    assert contents(tmp_path / "target") == FILES
    assert digest == sha256_tree(folder_of(tmp_path / "same"))
    assert copy_module(str(source), digest, tmp_path / "again") == digest


def test_another_module_than_the_sha256_names_is_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source")
    with pytest.raises(HeadstartError, match=f"expected {'0' * 64}, got {sha256_tree(source)}"):
        copy_module(str(source), "0" * 64, tmp_path / "target")


def hostile(kind: str, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("saved_model.pb")
        archive.addfile(good, io.BytesIO())
        bad = tarfile.TarInfo("variables/x")
        content = b""
        if kind == "link":
            bad.type, bad.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif kind == "hard link":
            bad.type, bad.linkname = tarfile.LNKTYPE, "saved_model.pb"
        elif kind == "device":
            bad.type = tarfile.FIFOTYPE
        elif kind == "absolute":
            bad.name = str(path.parent / "escaped")
        elif kind == "parent":
            bad.name = "../escaped"
        elif kind == "twice":
            bad.name = "saved_model.pb"
        elif kind == "bomb":
            content = bytes(20_000_000)
        bad.size = len(content)
        archive.addfile(bad, io.BytesIO(content))
    return path


def crafted(kind: str, path: Path) -> Path:
    """An archive whose headers no program writes."""
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("variables/\udcff" if kind == "no text" else "saved_model.pb")
        if kind == "nul":
            member.pax_headers = {"path": "variables/\0x"}
        if kind == "huge header":
            member.pax_headers = {"comment": "x" * 5_000_000}
        if kind == "chain":
            link = tarfile.TarInfo("././@LongLink")
            link.type, link.size = tarfile.GNUTYPE_LONGNAME, 2
            assert archive.fileobj is not None
            archive.fileobj.write((link.tobuf() + b"x".ljust(512, b"\0")) * 3000)
        archive.addfile(member)
    return path


@pytest.mark.parametrize("kind", ["nul", "no text", "huge header", "chain"])
def test_headers_that_no_program_writes_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(
        HeadstartError,
        match=r"no usable name|every system|cannot be unpacked|holds a (header|chain)",
    ):
        copy_module(str(crafted(kind, tmp_path / "m.tar.gz")), None, tmp_path / "target")


@pytest.mark.parametrize(
    "kind",
    ["link", "hard link", "device", "absolute", "parent", "twice", "bomb"],
)
def test_a_hostile_archive_writes_nothing_outside(kind: str, tmp_path: Path) -> None:
    archive = hostile(kind, tmp_path / "module.tar.gz")
    (tmp_path / "inner").mkdir()
    with pytest.raises(HeadstartError):
        copy_module(str(archive), None, tmp_path / "inner/target")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("to", ["/etc/passwd", "/etc"])
def test_a_link_in_a_folder_is_not_followed(to: str, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source")
    (source / "assets/secret").symlink_to(to)
    with pytest.raises(HeadstartError, match="not a plain file"):
        copy_module(str(source), None, tmp_path / "target")


@pytest.mark.parametrize(
    "content", [b"", b"<html>log in</html>", b"\x1f\x8b\x08\x00cut", b"\xfd7zXZ\x00no gzip"]
)
def test_a_file_that_is_not_an_archive_is_reported(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "module.tar.gz").write_bytes(content)
    with pytest.raises(HeadstartError, match=r"cannot be unpacked|is not a module"):
        copy_module(str(tmp_path / "module.tar.gz"), None, tmp_path / "target")


class Server:
    """A host of modules: answers to the query of the protocol alone."""

    def __init__(self, archive: bytes) -> None:
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                if not self.path.startswith("/google/vector/1"):
                    self.send_error(404)
                    return
                compressed = "tf-hub-format=compressed" in self.path
                body = archive if compressed else b"<html>a page about it</html>"
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.handle = f"http://127.0.0.1:{self.http.server_port}/google/vector/1"
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(archive_of(tmp_path / "served.tar.gz").read_bytes())
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_address_is_fetched_once_where_tensorflow_hub_finds_it(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    digest = copy_module(server.handle, None, tmp_path / "first")
    assert contents(tmp_path / "first") == FILES
    name = hashlib.sha1(server.handle.encode(), usedforsecurity=False).hexdigest()
    assert contents(cache / name) == FILES
    assert sorted(path.name for path in cache.iterdir()) == [name, f"{name}.descriptor.txt"]
    assert copy_module(server.handle, digest, tmp_path / "second") == digest
    assert server.requests == ["/google/vector/1?tf-hub-format=compressed"]


def test_what_an_address_asks_for_is_kept_and_nothing_asked_twice(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    copy_module(f"{server.handle}/?a=&tf-hub-format=compressed", None, tmp_path / "target")
    assert server.requests == ["/google/vector/1/?a=&tf-hub-format=compressed"]
    assert len(list(cache.iterdir())) == 2


FETCH = """
import sys, pathlib
from headstart.keras.networks import hub_files
if "killed" in sys.argv:
    import os, signal
    hub_files._unwrap = lambda _: os.kill(os.getpid(), signal.SIGKILL)
hub_files.copy_module(sys.argv[1], None, pathlib.Path(sys.argv[2]))
"""


def fetching(handle: str, target: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, handle, str(target), *options],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_fetch_it_once_and_what_a_killed_one_left_is_cleared_away(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    with fetching(server.handle, tmp_path / "killed", "killed") as killed:
        killed.communicate()
    assert killed.returncode < 0
    assert list(cache.iterdir())
    with fetching(server.handle, tmp_path / "a") as a, fetching(server.handle, tmp_path / "b") as b:
        said = [each.communicate()[1] for each in (a, b)]
    assert [a.returncode, b.returncode] == [0, 0], said
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == FILES
    assert len(server.requests) == 2
    name = hashlib.sha1(server.handle.encode(), usedforsecurity=False).hexdigest()
    assert sorted(path.name for path in cache.iterdir()) == [name, f"{name}.descriptor.txt"]


def test_a_module_placed_by_hand_needs_no_network(cache: Path, tmp_path: Path) -> None:
    handle = "https://nowhere.invalid/google/vector/1"
    name = hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    folder_of(cache / name)
    copy_module(handle, None, tmp_path / "target")
    assert contents(tmp_path / "target") == FILES


def test_without_a_network_the_message_says_how_to_get_the_module(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_files, "POLICY", RetryPolicy(attempts=1))
    handle = "http://127.0.0.1:9/google/vector/1"
    with pytest.raises(HeadstartError) as caught:
        copy_module(handle, None, tmp_path / "target")
    said = str(caught.value)
    name = hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    for wanted in (handle, str(cache / name), "TFHUB_CACHE_DIR", "headstart show module"):
        assert wanted in said
    assert list(cache.iterdir()) == []


def test_a_page_in_place_of_a_module_is_not_kept(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    page = server.handle + "/page.tar.gz"  # Asked for as it is: it seems to be the archive.
    with pytest.raises(HeadstartError, match="a page in place of the file"):
        copy_module(page, None, tmp_path / "target")
    with pytest.raises(HeadstartError, match="404"):
        copy_module(server.handle.replace("google", "other"), None, tmp_path / "target")
    assert list(cache.iterdir()) == []


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "source")
    monkeypatch.setattr(hub_files, "MAX_FILES", 3)
    with pytest.raises(HeadstartError, match="more than 3 files"):
        copy_module(str(source), None, tmp_path / "a")
    monkeypatch.setattr(hub_files, "MAX_BYTES", 100)
    with pytest.raises(HeadstartError, match="more than 100 bytes"):
        copy_module(str(archive_of(tmp_path / "m.tar.gz")), None, tmp_path / "b")


def test_tensorflow_hub_itself_finds_modules_by_our_resolver(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    import tensorflow_hub

    found = tensorflow_hub.resolve(server.handle)
    assert Path(found).parent == cache
    assert contents(Path(found)) == FILES
    assert server.requests == ["/google/vector/1?tf-hub-format=compressed"]
    source = folder_of(tmp_path / "source")
    assert tensorflow_hub.resolve(str(source)) == str(source)
    archive = archive_of(tmp_path / "m.tar.gz")
    unpacked = [Path(tensorflow_hub.resolve(str(archive))) for _ in range(2)]
    assert unpacked[0] == unpacked[1]
    assert contents(unpacked[0]) == FILES
    with pytest.raises(HeadstartError, match="404"):
        tensorflow_hub.resolve(server.handle.replace("google", "other"))

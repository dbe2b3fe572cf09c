from __future__ import annotations

import errno
import hashlib
import socket
import time
from pathlib import Path

import pytest

from headstart.downloads.client import ChecksumError, DownloadError, RetryPolicy
from headstart.downloads.file import download_file, kept_bytes
from tests.downloads.server import Request, serving

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(attempts=3, pause=0.01, connect=2, read=1, total=30)
MOST = 10_000_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetch(url: str, target: Path) -> bytes:
    download_file(url, target, digest=SHA256, max_bytes=MOST, policy=QUICK)
    return target.read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


def test_a_file_appears_when_it_is_complete(target: Path) -> None:
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        download_file(url, target, digest=SHA256, max_bytes=MOST, policy=QUICK)
    assert target.read_bytes() == CONTENT
    assert len(seen) == 1
    assert list(target.parent.iterdir()) == [target]


def test_md5_is_recognized_by_its_length_and_no_digest_accepts_any_file(target: Path) -> None:
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    with serving(lambda request: request.serve(CONTENT)) as (url, _):
        download_file(url, target, digest=md5, policy=QUICK)
        with pytest.raises(ChecksumError):
            download_file(url, target, digest="0" * 32, policy=QUICK)
        download_file(url, target, policy=QUICK)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("etag", "starts"), [('"v1"', [0, 300_000]), ('W/"weak"', [0, 0])])
def test_without_a_digest_only_a_strong_etag_lets_a_file_resume(
    target: Path, etag: str, starts: list[int]
) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT, cut=300_000 if request.number == 1 else None, etag=etag)

    with serving(behave) as (url, seen):
        download_file(url, target, policy=QUICK)
    assert target.read_bytes() == CONTENT
    assert [request.start for request in seen] == starts


def test_an_empty_answer_is_no_file(target: Path) -> None:
    with (
        serving(lambda request: request.answer(200)) as (url, _),
        pytest.raises(DownloadError, match="no bytes"),
    ):
        download_file(url, target, policy=QUICK)


def test_a_partial_file_is_dropped_on_request(target: Path) -> None:
    with serving(lambda request: request.answer(200, CONTENT, cut=9000)) as (url, _):
        with pytest.raises(DownloadError, match="ended after 9,000"):
            download_file(url, target, policy=QUICK)
        assert kept_bytes(target) == 9000
        with pytest.raises(DownloadError, match="ended after 9,000"):
            download_file(url, target, policy=QUICK, keep_partial=False)
    assert list(target.parent.iterdir()) == []


def test_another_file_may_be_tried_again(target: Path) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT if request.number == 3 else b"other")

    patient = RetryPolicy(attempts=3, pause=0.01, mismatches=3)
    with serving(behave) as (url, seen):
        download_file(url, target, digest=SHA256, policy=patient)
    assert len(seen) == 3


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="could not be written"):
        download_file("http://127.0.0.1:9/", tmp_path / "file" / "x", policy=QUICK)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes(status: int, target: Path) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT) if request.number == 3 else request.answer(status)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 3


def test_a_fault_that_does_not_pass(target: Path) -> None:
    with serving(lambda request: request.answer(500)) as (url, seen):
        with pytest.raises(DownloadError, match="answered 500"):
            fetch(url, target)
        assert len(seen) == 3


def test_a_server_that_asks_to_wait(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.answer(503, Retry_After="1")
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, _):
        start = time.monotonic()
        fetch(url, target)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(status: int, target: Path) -> None:
    with serving(lambda request: request.answer(status)) as (url, seen):
        with pytest.raises(DownloadError, match=str(status)):
            fetch(url, target)
        assert len(seen) == 1


def test_a_cut_body_is_resumed(target: Path) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT, cut=300_000 if request.number < 3 else None)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert [request.start for request in seen] == [0, 300_000, 600_000]
    assert [request.headers.get("If-Range") for request in seen] == [None, '"v1"', '"v1"']


def test_the_next_run_goes_on(target: Path) -> None:
    with (
        serving(lambda request: request.serve(CONTENT, cut=0 if request.number > 1 else 500_000))
        as (url, _),
        pytest.raises(DownloadError, match="ended after 500,000"),
    ):  # fmt: skip
        fetch(url, target)
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert [request.start for request in seen] == [500_000]


def test_a_file_that_was_replaced_meanwhile(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(b"old" * 200_000, cut=400_000, etag='"v0"')
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 2


def test_a_mixture_of_versions_is_fetched_afresh(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(b"old" * 200_000, cut=400_000, etag='W/"weak"')
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert [request.start for request in seen] == [0, 400_000, 0]


def test_a_server_without_ranges(target: Path) -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, cut=300_000 if request.number == 1 else None)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 2


def test_a_server_that_sends_another_range(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(CONTENT, cut=300_000)
        elif request.number == 2:
            request.answer(206, CONTENT[7:], Content_Range=f"bytes 7-{len(CONTENT) - 1}/9")
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, _):
        assert fetch(url, target) == CONTENT


def test_without_a_length(target: Path) -> None:
    with serving(lambda request: request.answer(200, CONTENT, no_length="")) as (url, _):
        assert fetch(url, target) == CONTENT


def test_without_a_length_a_cut_body_shows_by_its_hash(target: Path) -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, cut=9000 if request.number == 1 else None, no_length="")

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 2


def test_in_chunks_and_cut_in_one(target: Path) -> None:
    sizes = [1, 70_000, len(CONTENT) - 70_001]
    framed, start = b"", 0
    for size in sizes:
        framed += f"{size:x}\r\n".encode() + CONTENT[start : start + size] + b"\r\n"
        start += size
    framed += b"0\r\n\r\n"

    def behave(request: Request) -> None:
        cut = 9000 if request.number == 1 else None
        request.answer(200, framed, cut=cut, no_length="", Transfer_Encoding="chunked")

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 2


def test_a_gzip_label_is_not_undone(target: Path) -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, Content_Encoding="gzip")

    with serving(behave) as (url, _):
        assert fetch(url, target) == CONTENT


def test_another_file(target: Path) -> None:
    with serving(lambda request: request.serve(b"log in, please")) as (url, seen):
        with pytest.raises(ChecksumError) as caught:
            fetch(url, target)
        assert len(seen) == 1
    assert caught.value.expected == SHA256
    assert caught.value.got == hashlib.sha256(b"log in, please").hexdigest()
    assert list(target.parent.iterdir()) == []


def test_a_redirect_and_a_loop_of_them(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.path == "/a":
            request.answer(302, Location="/b")
        elif request.path == "/b":
            request.serve(CONTENT)
        else:
            request.answer(302, Location=request.path + "x")

    with serving(behave) as (url, seen):
        assert fetch(f"{url}/a", target) == CONTENT
        seen.clear()
        with pytest.raises(DownloadError, match="redirect"):
            fetch(f"{url}/loop", target)
        assert len(seen) <= 7


@pytest.mark.parametrize("length", [True, False])
def test_too_big(length: bool, target: Path) -> None:
    def behave(request: Request) -> None:
        if length:
            request.answer(200, CONTENT)
        else:
            request.answer(200, CONTENT, no_length="")

    with serving(behave) as (url, _), pytest.raises(DownloadError, match="bytes"):
        download_file(url, target, digest=SHA256, max_bytes=100_000, policy=QUICK)
    assert list(target.parent.iterdir()) == []


def test_a_server_that_falls_silent(target: Path) -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            time.sleep(1.5)
        request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, target) == CONTENT
    assert len(seen) == 2


def test_a_server_that_drips(target: Path) -> None:
    def behave(request: Request) -> None:
        request.answer(200, no_length="")
        for _ in range(40):
            time.sleep(0.05)
            try:
                request._handler.wfile.write(b"x" * 300_000)
            except OSError:
                return

    slow = RetryPolicy(attempts=2, pause=0.01, connect=2, read=1, total=0.3)
    with serving(behave) as (url, _), pytest.raises(DownloadError, match="within"):
        download_file(url, target, digest=SHA256, policy=slow)


@pytest.mark.parametrize("length", [True, False])
def test_a_server_that_drips_byte_by_byte(length: bool, target: Path) -> None:
    def behave(request: Request) -> None:
        if length:
            request.answer(200, Content_Length="1000000")
        else:
            request.answer(200, no_length="")
        for _ in range(200):
            time.sleep(0.05)
            try:
                request._handler.wfile.write(b"x")
            except OSError:
                return

    slow = RetryPolicy(attempts=2, pause=0.01, connect=2, read=1, total=0.3)
    start = time.monotonic()
    with serving(behave) as (url, _), pytest.raises(DownloadError, match="within"):
        download_file(url, target, digest=SHA256, policy=slow)
    assert time.monotonic() - start < 5


def test_nobody_answers(target: Path) -> None:
    with serving(lambda request: request.answer(200)) as (url, _):
        pass
    with pytest.raises(DownloadError, match="ConnectionRefused"):
        fetch(url, target)


def test_an_address_that_is_none(target: Path) -> None:
    with pytest.raises(DownloadError, match="not a valid address"):
        fetch("http://", target)


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
    ],
)
def test_without_a_network_there_is_one_line_and_one_message(
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: OSError,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DownloadError, match="this machine has no network, or the address is wrong"):
        download_file("http://headstart.example/x", target, policy=QUICK)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_tries_are_bounded_however_many_bytes_each_adds(target: Path) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT, cut=request.number)  # of the rest, so that each try adds some

    few = RetryPolicy(attempts=3, tries=6, pause=0.0, connect=2, read=1, total=30)
    with serving(behave) as (url, seen):
        with pytest.raises(DownloadError, match="ended after"):
            download_file(url, target, digest=SHA256, policy=few)
        assert len(seen) == 6


@pytest.mark.parametrize("where", ["status", "header", "chunk"])
def test_a_server_that_drips_outside_of_the_body(where: str, target: Path) -> None:
    start = {
        "status": b"HTTP/1.1 200 O",
        "header": b"HTTP/1.1 200 OK\r\nX-Slow: ",
        "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    }

    def behave(request: Request) -> None:
        request.raw(start[where])
        for _ in range(200):
            time.sleep(0.05)
            try:
                request.raw(b"x")
            except OSError:
                return

    slow = RetryPolicy(attempts=2, pause=0.01, connect=2, read=1, total=0.4)
    begun = time.monotonic()
    with serving(behave) as (url, _):
        with pytest.raises(DownloadError, match="not complete within 0"):
            download_file(url, target, digest=SHA256, policy=slow)
        assert time.monotonic() - begun < 3


def test_no_message_and_no_note_shows_a_secret(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def behave(request: Request) -> None:
        request.serve(b"other" if request.number == 1 else CONTENT[: request.number], cut=1)

    def secret(url: str) -> str:
        return f"{url.replace('//', '//jane:hunter2@')}/a?X-Amz-Signature=abc123&token=t0p"

    twice = RetryPolicy(attempts=2, pause=0.0, mismatches=2)
    with serving(behave) as (url, _):
        for address in (secret(url), secret("http://127.0.0.1:9"), secret("http://[")):
            with pytest.raises(DownloadError) as caught:
                download_file(address, target, digest=SHA256, policy=twice)
            notes = [path.read_text() for path in target.parent.glob("*.json")]
            said = [str(caught.value), *capsys.readouterr(), *notes]
            assert not [text for text in said for word in SECRETS if word in text]


SECRETS = ("hunter2", "abc123", "t0p")

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError
from headstart.sources.http import Patience, downloads_folder, fetch
from tests.sources.server import Request, serving

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(tries=3, pause=0.01, connect=2, read=1, total=30)
MOST = 10_000_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def leftovers() -> list[str]:
    return sorted(path.name for path in downloads_folder().iterdir() if path.suffix != ".lock")


def test_fetched_once(private_store: Path) -> None:
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        path = fetch(f"{url}/a.zip", SHA256, MOST, QUICK)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(private_store)
        assert fetch(f"{url}/a.zip", SHA256, MOST, QUICK) == path
    assert len(seen) == 1
    assert leftovers() == [SHA256]


def test_a_damaged_copy_is_fetched_again(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        fetch(url, SHA256, MOST, QUICK).write_bytes(CONTENT[:-1])
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes(status: int) -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT) if request.number == 3 else request.answer(status)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 3


def test_a_fault_that_does_not_pass() -> None:
    with serving(lambda request: request.answer(500)) as (url, seen):
        with pytest.raises(SourceError, match=r"status 500(.|\n)*3 times"):
            fetch(url, SHA256, MOST, QUICK)
        assert len(seen) == 3


def test_a_server_that_asks_to_wait() -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.answer(503, Retry_After="1")
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, _):
        start = time.monotonic()
        fetch(url, SHA256, MOST, QUICK)
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(status: int) -> None:
    with serving(lambda request: request.answer(status)) as (url, seen):
        with pytest.raises(SourceError, match=str(status)):
            fetch(url, SHA256, MOST, QUICK)
        assert len(seen) == 1


def test_a_cut_body_is_resumed() -> None:
    def behave(request: Request) -> None:
        request.serve(CONTENT, cut=300_000 if request.number < 3 else None)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert [request.start for request in seen] == [0, 300_000, 600_000]
    assert [request.headers.get("If-Range") for request in seen] == [None, '"v1"', '"v1"']


def test_the_next_run_goes_on() -> None:
    with (
        serving(lambda request: request.serve(CONTENT, cut=0 if request.number > 1 else 500_000))
        as (url, _),
        pytest.raises(SourceError, match="500,000 bytes are kept"),
    ):  # fmt: skip
        fetch(url, SHA256, MOST, QUICK)
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert [request.start for request in seen] == [500_000]


def test_a_file_that_was_replaced_meanwhile() -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(b"old" * 200_000, cut=400_000, etag='"v0"')
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_mixture_of_versions_is_fetched_afresh() -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(b"old" * 200_000, cut=400_000, etag='W/"weak"')
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert [request.start for request in seen] == [0, 400_000, 0]


def test_a_server_without_ranges() -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, cut=300_000 if request.number == 1 else None)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_server_that_sends_another_range() -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            request.serve(CONTENT, cut=300_000)
        elif request.number == 2:
            request.answer(206, CONTENT[7:], Content_Range=f"bytes 7-{len(CONTENT) - 1}/9")
        else:
            request.serve(CONTENT)

    with serving(behave) as (url, _):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT


def test_without_a_length() -> None:
    with serving(lambda request: request.answer(200, CONTENT, no_length="")) as (url, _):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT


def test_without_a_length_a_cut_body_shows_by_its_hash() -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, cut=9000 if request.number == 1 else None, no_length="")

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2


def test_in_chunks_and_cut_in_one() -> None:
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
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_gzip_label_is_not_undone() -> None:
    def behave(request: Request) -> None:
        request.answer(200, CONTENT, Content_Encoding="gzip")

    with serving(behave) as (url, _):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT


def test_another_file() -> None:
    with serving(lambda request: request.serve(b"log in, please")) as (url, seen):
        with pytest.raises(SourceError) as caught:
            fetch(url, SHA256, MOST, QUICK)
        assert len(seen) == 1
    message = str(caught.value)
    assert SHA256 in message
    assert hashlib.sha256(b"log in, please").hexdigest() in message
    assert "deleted" in message
    assert leftovers() == []


def test_a_redirect_and_a_loop_of_them() -> None:
    def behave(request: Request) -> None:
        if request.path == "/a":
            request.answer(302, Location="/b")
        elif request.path == "/b":
            request.serve(CONTENT)
        else:
            request.answer(302, Location=request.path + "x")

    with serving(behave) as (url, seen):
        assert fetch(f"{url}/a", SHA256, MOST, QUICK).read_bytes() == CONTENT
        seen.clear()
        with pytest.raises(SourceError, match="redirect"):
            fetch(f"{url}/loop", "0" * 64, MOST, QUICK)
        assert len(seen) <= 7


@pytest.mark.parametrize("length", [True, False])
def test_too_big(length: bool) -> None:
    def behave(request: Request) -> None:
        if length:
            request.answer(200, CONTENT)
        else:
            request.answer(200, CONTENT, no_length="")

    with serving(behave) as (url, _), pytest.raises(SourceError, match="max_total_bytes"):
        fetch(url, SHA256, 100_000, QUICK)
    assert leftovers() == []


def test_a_server_that_falls_silent() -> None:
    def behave(request: Request) -> None:
        if request.number == 1:
            time.sleep(1.5)
        request.serve(CONTENT)

    with serving(behave) as (url, seen):
        assert fetch(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2


def test_a_server_that_drips() -> None:
    def behave(request: Request) -> None:
        request.answer(200, no_length="")
        for _ in range(40):
            time.sleep(0.05)
            try:
                request._handler.wfile.write(b"x" * 300_000)
            except OSError:
                return

    slow = Patience(tries=2, pause=0.01, connect=2, read=1, total=0.3)
    with serving(behave) as (url, _), pytest.raises(SourceError, match="within"):
        fetch(url, SHA256, 1 << 40, slow)


@pytest.mark.parametrize("length", [True, False])
def test_a_server_that_drips_byte_by_byte(length: bool) -> None:
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

    slow = Patience(tries=2, pause=0.01, connect=2, read=1, total=0.3)
    start = time.monotonic()
    with serving(behave) as (url, _), pytest.raises(SourceError, match="within"):
        fetch(url, SHA256, 1 << 40, slow)
    assert time.monotonic() - start < 5


def test_nobody_answers() -> None:
    with serving(lambda request: request.answer(200)) as (url, _):
        pass
    with pytest.raises(SourceError, match="tried 3 times"):
        fetch(url, SHA256, MOST, QUICK)


def test_an_address_that_is_none() -> None:
    with pytest.raises(SourceError, match="no address"):
        fetch("http://", SHA256, MOST, QUICK)

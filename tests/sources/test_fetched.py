from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError
from headstart.downloads.client import RetryPolicy
from headstart.sources.fetched import downloads_folder, fetch_archive
from tests.downloads.server import Request, serving

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(attempts=3, pause=0.01, connect=2, read=1, total=30)
MOST = 10_000_000


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def leftovers() -> list[str]:
    return sorted(path.name for path in downloads_folder().iterdir() if path.suffix != ".lock")


def test_an_archive_is_fetched_once(private_store: Path) -> None:
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        path = fetch_archive(f"{url}/a.zip", SHA256, MOST, QUICK)
        assert path.read_bytes() == CONTENT
        assert path.is_relative_to(private_store)
        assert fetch_archive(f"{url}/a.zip", SHA256, MOST, QUICK) == path
    assert len(seen) == 1
    assert leftovers() == [SHA256]


def test_a_damaged_copy_is_fetched_again(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        fetch_archive(url, SHA256, MOST, QUICK).write_bytes(CONTENT[:-1])
        assert fetch_archive(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert len(seen) == 2
    assert "damaged" in capsys.readouterr().err


def test_the_next_run_resumes() -> None:
    with (
        serving(lambda request: request.serve(CONTENT, cut=0 if request.number > 1 else 500_000))
        as (url, _),
        pytest.raises(SourceError, match="500,000 bytes are kept; run again to resume"),
    ):  # fmt: skip
        fetch_archive(url, SHA256, MOST, QUICK)
    with serving(lambda request: request.serve(CONTENT)) as (url, seen):
        assert fetch_archive(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
    assert [request.start for request in seen] == [500_000]


def test_another_file() -> None:
    with serving(lambda request: request.serve(b"log in, please")) as (url, seen):
        with pytest.raises(SourceError) as caught:
            fetch_archive(url, SHA256, MOST, QUICK)
        assert len(seen) == 1
    message = str(caught.value)
    assert SHA256 in message
    assert hashlib.sha256(b"log in, please").hexdigest() in message
    assert "deleted" in message
    assert leftovers() == []


def test_too_big() -> None:
    with (
        serving(lambda request: request.answer(200, CONTENT)) as (url, _),
        pytest.raises(SourceError, match="max_total_bytes"),
    ):
        fetch_archive(url, SHA256, 100_000, QUICK)
    assert leftovers() == []


def test_a_refusal_is_reported_with_what_to_do() -> None:
    with (
        serving(lambda request: request.answer(404)) as (url, _),
        pytest.raises(SourceError, match=r"answered 404 Not Found.*Check the address, and whether"),
    ):
        fetch_archive(url, SHA256, MOST, QUICK)


def test_the_user_and_password_come_from_netrc_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login jane password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    expected = f"Basic {base64.b64encode(b'jane:hunter2').decode()}"

    def behave(request: Request) -> None:
        if request.headers.get("Authorization") == expected:
            request.serve(CONTENT)
        else:
            request.answer(401)

    with serving(behave) as (url, _):
        assert fetch_archive(url, SHA256, MOST, QUICK).read_bytes() == CONTENT
        monkeypatch.delenv("NETRC")
        wrong = f"{url.replace('//', '//jane:wrong1@')}/a.zip?token=t0p"
        with pytest.raises(SourceError, match="answered 401") as caught:
            fetch_archive(wrong, "0" * 64, MOST, QUICK)
    assert not [word for word in ("wrong1", "t0p") if word in str(caught.value)]

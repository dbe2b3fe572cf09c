from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytest.importorskip("kagglehub", reason="needs the extra `kaggle`")

from kagglesdk import kaggle_env

from headstart._utils.errors import SourceError, UnsafeArchiveError
from headstart.archives.members import ArchiveLimits
from headstart.downloads.client import RetryPolicy
from headstart.sources.kaggle import open_kaggle
from tests.archives.made import HONEST, make_zip
from tests.downloads.server import Request, serving

NAME = "some-one/pets/versions/3"
BOUNDS = ArchiveLimits(10_000_000)
QUICK = RetryPolicy(attempts=2, pause=0.01)
NO_LENGTH = {"no_length": "1"}


@pytest.fixture(autouse=True)
def _nobodys_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetched(
    monkeypatch: pytest.MonkeyPatch,
    behave: Callable[[Request], None],
    bounds: ArchiveLimits = BOUNDS,
) -> tuple[dict[str, object], list[Request]]:
    """What Kaggle's data set holds, if Kaggle behaves so."""
    with serving(behave) as (url, seen):
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, url)
        source = open_kaggle(NAME, bounds, QUICK)
        return dict(source.contents({entry.path for entry in source.entries})), seen


def honest(
    content: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    cut: int | None = None,
    ranges: bool = False,
) -> Callable[[Request], None]:
    """Kaggle: it is asked by POST and points to a store, which sends the archive."""
    named = {name.replace("-", "_"): value for name, value in (headers or {}).items()}

    def behave(request: Request) -> None:
        if request.method == "POST":
            request.answer(302, Location="/store/archive.zip")
        elif ranges and request.start:
            part = f"bytes {request.start}-{len(content) - 1}/{len(content)}"
            request.answer(206, content[request.start :], cut=cut, Content_Range=part, **named)
        else:
            request.answer(200, content, cut=cut, **named)

    return behave


def test_an_archive_is_fetched_once_and_never_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    got, seen = fetched(monkeypatch, honest(content))
    assert got == HONEST
    assert b'"ownerSlug": "some-one"' in seen[0].body
    assert b'"datasetVersionNumber": 3' in seen[0].body
    again, seen = fetched(monkeypatch, lambda request: request.answer(500))
    assert again == HONEST
    assert not seen
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_token_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret-word")
    _, seen = fetched(monkeypatch, honest(make_zip(tmp_path / "a.zip").read_bytes()))
    assert seen[0].headers["Authorization"] == "Bearer secret-word"


def test_kagglehubs_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kagglehub" / "datasets" / "some-one" / "pets"
    for name, content in HONEST.items():
        path = folder / "versions" / "3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    # Without its mark it was not unpacked to the end, and is not believed.
    with pytest.raises(SourceError):
        fetched(monkeypatch, lambda request: request.answer(500))
    (folder / "3.complete").touch()
    got, seen = fetched(monkeypatch, lambda request: request.answer(500))
    assert got == HONEST
    assert not seen


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_user_learns_where_a_token_goes(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with pytest.raises(SourceError) as caught:
        fetched(monkeypatch, lambda request: request.answer(status))
    said = str(caught.value)
    assert f"status {status}" in said
    assert "KAGGLE_API_TOKEN" in said
    assert "~/.kaggle/access_token" in said
    assert "https://www.kaggle.com/datasets/some-one/pets" in said


def test_what_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="knows no data set some-one/pets/versions/3"):
        fetched(monkeypatch, lambda request: request.answer(404))


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda request: None) as (url, _):
        pass
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, url)
    with pytest.raises(SourceError, match=r"could not be asked(.|\n)*download\.source: archive"):
        open_kaggle(NAME, BOUNDS)


def test_bounds_hold_with_and_without_a_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_store: Path
) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    for headers in ({}, NO_LENGTH):
        with pytest.raises(SourceError, match="max_total_bytes"):
            fetched(monkeypatch, honest(content, headers), ArchiveLimits(1000))
    assert not [path for path in private_store.rglob("*") if path.suffix in {".archive", ".part"}]
    got, _ = fetched(monkeypatch, honest(content, NO_LENGTH))
    assert got == HONEST


def test_a_hostile_archive_is_refused_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = make_zip(tmp_path / "a.zip", {**HONEST, "../../evil.jpg": b"x"}).read_bytes()
    with pytest.raises(UnsafeArchiveError):
        fetched(monkeypatch, honest(evil))
    bomb = make_zip(tmp_path / "b.zip", {"a/b.jpg": bytes(20_000_000)}, zipfile.ZIP_DEFLATED)
    (next((tmp_path / "store").rglob("3.archive"))).unlink()
    with pytest.raises(UnsafeArchiveError):
        fetched(monkeypatch, honest(bomb.read_bytes()), ArchiveLimits(100_000_000))


def test_a_cut_download_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    part = tmp_path / "store" / "downloads" / "kaggle" / "some-one" / "pets" / "3.archive.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:2000])
    told = {"Accept-Ranges": "bytes", "x-goog-hash": f"md5={digest}"}
    with pytest.raises(SourceError, match="what was fetched is kept"):
        fetched(monkeypatch, lambda request: request.answer(503))
    got, seen = fetched(monkeypatch, honest(content, told, ranges=True))
    assert got == HONEST
    assert seen[-1].start == 2000


def test_a_cut_download_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    with pytest.raises(SourceError, match=r"2,?000"):
        fetched(monkeypatch, honest(content, cut=2000))
    got, _ = fetched(monkeypatch, honest(content))
    assert got == HONEST


def test_what_came_damaged_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_zip(tmp_path / "a.zip").read_bytes()
    wrong = base64.b64encode(hashlib.md5(b"else", usedforsecurity=False).digest()).decode()
    with pytest.raises(SourceError, match="damaged"):
        fetched(monkeypatch, honest(content, {"x-goog-hash": f"md5={wrong}"}))
    got, _ = fetched(monkeypatch, honest(content))
    assert got == HONEST


BAD_CREDENTIALS = {
    "no JSON": ("kaggle.json", b"abc-secret", "Invalid Kaggle credentials file at"),
    "no key": ("kaggle.json", b'{"username": "me"}', "is missing 'key'"),
    "a list": ("kaggle.json", b"[1]", "is missing 'username'"),
    "a number": ("kaggle.json", b"7", '{"username": "…", "key": "…"}'),
    "not UTF-8": ("kaggle.json", b"\xff\xfe{}", "plain text"),
    "two lines": (".kaggle/access_token", b"abc-secret\nmore", "line breaks"),
    "signs": (".kaggle/access_token", "abc-secret\u2026".encode(), "plain text"),
    "bytes": (".kaggle/access_token", b"\xff\xfeabc-secret", "plain text"),
    "a folder": (".kaggle/access_token/x", b"", "access_token"),
}


@pytest.mark.parametrize("case", BAD_CREDENTIALS)
def test_credentials_that_cannot_be_used_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, content, said = BAD_CREDENTIALS[case]
    path = tmp_path / "home" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setattr(
        "kagglehub.config.DEFAULT_KAGGLE_CREDENTIALS_FOLDER", str(tmp_path / "home")
    )
    with pytest.raises(SourceError, match="The credentials for Kaggle cannot be used") as caught:
        fetched(monkeypatch, lambda request: request.answer(500))
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "delete the file" in str(caught.value)

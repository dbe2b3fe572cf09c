"""An archive in object storage: fetched in blocks, resumed, and the file that its hash names."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError
from headstart.objects import file as module
from headstart.objects.file import fetch_object
from tests.objects.server import Server, error, store_of, unreliable

CONTENT = random.Random(0).randbytes(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 10_000)


def test_an_interrupted_fetch_goes_on(s3: Server, tmp_path: Path) -> None:
    whole = s3.place({"pets.zip": CONTENT})
    store = store_of(whole.at(f"{whole.url}/pets.zip"))
    target = tmp_path / SHA256
    s3.fault = lambda _: error(403, "AccessDenied") if len(s3.gets()) > 5 else None
    with pytest.raises(SourceError, match="gave no access"):
        fetch_object(store, target, SHA256, 1_000_000)
    assert not target.exists()
    assert target.with_name(f"{SHA256}.part").stat().st_size == 50_000
    s3.seen.clear()
    s3.fault = lambda _: None
    fetch_object(store, target, SHA256, 1_000_000)
    assert target.read_bytes() == CONTENT
    assert len(s3.gets()) == 5
    assert [path.name for path in tmp_path.iterdir()] == [SHA256]


def test_a_replaced_archive_is_fetched_from_its_start(s3: Server, tmp_path: Path) -> None:
    whole = s3.place({"pets.zip": bytes(100_000)})
    store = store_of(whole.at(f"{whole.url}/pets.zip"))
    s3.fault = lambda _: error(403, "AccessDenied") if len(s3.gets()) > 5 else None
    with pytest.raises(SourceError, match="gave no access"):
        fetch_object(store, tmp_path / SHA256, SHA256, 1_000_000)
    s3.put(whole, {"pets.zip": CONTENT})
    s3.fault = lambda _: None
    fetch_object(store, tmp_path / SHA256, SHA256, 1_000_000)
    assert (tmp_path / SHA256).read_bytes() == CONTENT


def test_one_that_is_replaced_while_it_is_fetched(s3: Server, tmp_path: Path) -> None:
    whole = s3.place({"pets.zip": bytes(100_000)})
    store = store_of(whole.at(f"{whole.url}/pets.zip"))

    def replaced(_: str) -> None:
        if len(s3.gets()) == 5:
            s3.put(whole, {"pets.zip": CONTENT})

    s3.fault = replaced
    with pytest.raises(SourceError, match=r"changed while it was fetched .* Run again"):
        fetch_object(store, tmp_path / SHA256, SHA256, 1_000_000)
    fetch_object(store, tmp_path / SHA256, SHA256, 1_000_000)  # the remedy
    assert (tmp_path / SHA256).read_bytes() == CONTENT


def test_requests_that_fail_lose_nothing(s3: Server, tmp_path: Path) -> None:
    whole = s3.place({"pets.zip": CONTENT})
    s3.fault = unreliable(0.2, 0.0)
    fetch_object(store_of(whole.at(f"{whole.url}/pets.zip")), tmp_path / SHA256, SHA256, 1_000_000)
    assert (tmp_path / SHA256).read_bytes() == CONTENT


def test_what_is_refused(s3: Server, tmp_path: Path) -> None:
    whole = s3.place({"pets.zip": CONTENT})
    store = store_of(whole.at(f"{whole.url}/pets.zip"))
    with pytest.raises(SourceError, match="There is no object"):
        fetch_object(store_of(whole.at(f"{whole.url}/none.zip")), tmp_path / "x", SHA256, 10)
    with pytest.raises(SourceError, match=r"at most 99,999 are accepted, by `download\.max_total"):
        fetch_object(store, tmp_path / SHA256, SHA256, 99_999)
    with pytest.raises(SourceError, match=r"is not the file that `download\.sha256` names"):
        fetch_object(store, tmp_path / "x", "0" * 64, 1_000_000)
    assert list(tmp_path.iterdir()) == []

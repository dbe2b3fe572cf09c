"""Object storage that fails, refuses, changes and lies."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import SourceError
from headstart.downloads.client import RetryPolicy
from headstart.objects import place as places
from headstart.objects import store as module
from headstart.objects.faults import ChangedError
from headstart.objects.place import Place, Protocol, Stored
from headstart.objects.store import open_store
from tests.downloads.server import serving as http_server
from tests.objects.server import QUICK, Server, cut, error, reset, slow, store_of

FILES = {f"a/{number:02}.jpg": bytes([number]) * (number + 1) for number in range(25)}
FEW = {path: FILES[path] for path in ("a/03.jpg", "a/20.jpg")}
SECRETS = ("AKIANOBODY", "hunter2", "X-Amz", "x-amz")


def refused(place: Place, policy: RetryPolicy = QUICK) -> str:
    """The message of a listing that fails; it never shows a credential."""
    with pytest.raises(SourceError) as caught:
        list(store_of(place, policy).objects(""))
    said = str(caught.value)
    assert "Nothing was written" in said
    assert not any(secret in said for secret in SECRETS)
    assert caught.value.__cause__ is None
    return said


def test_listed_in_pages_and_read_in_ranges(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 10)
    place = s3.place(FILES, "in")
    store = store_of(place)
    found = list(store.objects("in/"))
    assert [each.key for each in found] == [f"in/{path}" for path in FILES]
    assert len(s3.seen) == 3
    assert [store.read(each) for each in found] == list(FILES.values())
    assert store.read(found[20], 3, 9) == FILES["a/20.jpg"][3:9]
    assert store.find("in/a/07.jpg") == found[7]
    assert store.find("in/none.jpg") is None


@pytest.mark.parametrize(
    "fault",
    [error(500, "InternalError"), error(503, "SlowDown"), error(429, "TooManyRequests"), reset,
     cut],
    ids=["500", "503", "429", "reset", "cut"],
)  # fmt: skip
def test_a_passing_fault_is_tried_again(s3: Server, fault: Any) -> None:
    place = s3.place({"a/20.jpg": FILES["a/20.jpg"]})
    store = store_of(place)
    (stored,) = store.objects("a/20")
    left = [fault, fault]
    s3.fault = lambda _: left.pop() if left else None
    assert store.read(stored) == FILES["a/20.jpg"]
    assert not left
    assert store.repeated == 2
    s3.fault = lambda _: fault
    with pytest.raises(SourceError, match="in 3 attempts"):
        store.read(stored)


def test_an_answer_that_is_late_is_asked_for_again(s3: Server) -> None:
    place = s3.place({"a.jpg": b"12345"})
    (stored,) = store_of(place).objects("")
    store = store_of(place, replace(QUICK, attempts=20, read=2.0))
    left = [slow(6.0)]
    s3.fault = lambda _: left.pop() if left else None
    assert store.read(stored) == b"12345"
    assert store.repeated >= 1


def test_another_version_is_not_read(s3: Server) -> None:
    place = s3.place(FEW)
    store = store_of(place)
    stored = next(iter(store.objects("a/20")))
    s3.put(place, {"a/20.jpg": b"x" * stored.size})
    with pytest.raises(ChangedError):
        store.read(stored)
    s3.delete(place, "a/20.jpg")
    with pytest.raises(ChangedError):
        store.read(stored)


def test_a_server_that_sends_more_than_it_listed_is_not_believed(s3: Server) -> None:
    place = s3.place({"a.jpg": b"12345"})
    store = store_of(place)
    (stored,) = store.objects("")
    with pytest.raises(SourceError, match="4 of 3 bytes came"):
        store.read(Stored(stored.key, 3, stored.version), 0, None)


def test_a_missing_bucket(s3: Server) -> None:
    said = refused(Place("s3://no-such-bucket/x", s3.url))
    assert f"There is no bucket `no-such-bucket` at {s3.url}" in said


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_denied_access(s3: Server, code: str) -> None:
    place = s3.place(FEW)
    s3.fault = lambda _: error(403, code, "AKIANOBODY may not")
    said = refused(place)
    assert f"gave no access to {place.url}: the server answered {code}" in said
    assert "`download.anonymous: true`" in said
    assert "AWS_ACCESS_KEY_ID" in said
    assert "Never put them into params.yaml" in said


def test_without_credentials_a_public_bucket_is_read_anonymously(
    s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = s3.place(FEW)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "there are no credentials" in refused(place)
    anonymous = Place(place.url, place.endpoint_url, anonymous=True)  # the remedy
    assert len(list(store_of(anonymous).objects(""))) == len(FEW)
    s3.fault = lambda _: error(403, "AccessDenied")
    assert "`download.anonymous: true` sends no credentials" in refused(anonymous)


def test_a_profile(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3.place(FEW)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    named = Place(place.url, place.endpoint_url, profile="lab")
    assert "There is no profile `lab`" in refused(named)
    (tmp_path / "home/.aws").mkdir(parents=True)
    (tmp_path / "home/.aws/credentials").write_text(
        "[lab]\naws_access_key_id = k\naws_secret_access_key = s\n"
    )
    assert len(list(store_of(named).objects(""))) == len(FEW)


def test_the_wrong_region(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3.place(FEW)
    words = "the region 'us-east-1' is wrong; expecting 'eu-west-3'"
    wrong = error(400, "IllegalLocationConstraintException", words)

    def fault(app: Any, environ: dict[str, Any], start: Any) -> Any:
        right = "/eu-west-3/s3/" in environ.get("HTTP_AUTHORIZATION", "")
        return app(environ, start) if right else wrong(app, environ, start)

    s3.fault = lambda _: fault
    said = refused(place)
    assert "is in another region" in said
    assert "`export AWS_DEFAULT_REGION=eu-west-3`" in said
    # A server that states the region is asked again there.
    wrong = error(400, "AuthorizationHeaderMalformed", words, Region="eu-west-3")
    assert len(list(store_of(place).objects(""))) == len(FEW)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    wrong = error(500, "NotAskedForAnyMore")
    assert len(list(store_of(place).objects(""))) == len(FEW)


def test_an_endpoint_where_nothing_listens(s3: Server) -> None:
    said = refused(Place("s3://bucket/x", "http://127.0.0.1:9"))
    assert "http://127.0.0.1:9 does not answer for s3://bucket/x, in 3 attempts" in said
    assert "`download.endpoint_url`" in said


def test_an_endpoint_that_is_a_web_page(s3: Server) -> None:
    page = b"<!DOCTYPE html><html><p>Console<br></html>"
    with http_server(lambda request: request.answer(200, page)) as (url, _):
        said = refused(Place("s3://bucket/x", url))
    assert f"{url} does not answer for s3://bucket/x" in said
    assert "`download.endpoint_url`" in said


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name.partition(".")[0] in {"s3fs", "gcsfs", "adlfs"}:
            raise ImportError(name)
        return original(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"needs the extra `s3`, of which s3fs") as caught:
        open_store(Place("s3://bucket"))
    assert "Install it: `" in str(caught.value)
    monkeypatch.undo()
    for scheme, package in (("gs", "gcsfs"), ("abfs", "adlfs")):
        pytest.importorskip("fsspec")
        with pytest.raises(SourceError, match=rf"`pip install {package}`"):
            open_store(Place(f"{scheme}://bucket"))


def test_any_other_file_system_of_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
    monkeypatch.setitem(
        places.PROTOCOLS, "memory", Protocol("Memory", "fsspec", "", ("anon", True), "")
    )
    system = memory()
    for path, content in FILES.items():
        system.pipe_file(f"/bucket/in/{path}", content)
    info = memory.info

    def with_version(self: Any, path: str, **named: Any) -> Any:
        found = info(self, path, **named)
        content = system.store.get(found["name"])
        etag = {} if content is None else {"etag": f'"{hash(bytes(content.getbuffer()))}"'}
        return {**found, **etag}

    try:
        with pytest.raises(SourceError, match="states no version"):
            list(store_of(Place("memory://bucket/in")).objects("in/"))
        monkeypatch.setattr(memory, "info", with_version)
        store = store_of(Place("memory://bucket/in"))
        found = [store.find(f"in/{path}") for path in FILES]
        stored = found[20]
        assert stored is not None
        assert store.read(stored) == FILES["a/20.jpg"]
        assert store.read(stored, 2, 5) == FILES["a/20.jpg"][2:5]
        assert store.find("in/none") is None
        system.pipe_file("/bucket/in/a/20.jpg", b"y" * stored.size)
        with pytest.raises(ChangedError):
            store.read(stored)
    finally:
        system.rm("/bucket", recursive=True)

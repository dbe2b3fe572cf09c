"""Images in object storage give what the same images on disk give."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError, InputChangedError, SourceError
from headstart._utils.files import sha256_file
from headstart.downloads.client import RetryPolicy
from headstart.objects.listing import list_objects, write_listing
from headstart.objects.place import Place
from headstart.sources import objects as module
from headstart.sources.fetched import downloads_folder
from headstart.sources.folder import FolderSource
from headstart.sources.objects import ObjectSource
from headstart.sources.parameters import fetch_of, place_of
from headstart.sources.preview import UnseenError, preview
from tests.archives.made import HONEST, make_zip
from tests.objects.server import QUICK, Server, error, store_of, unreliable
from tests.stages.test_download import POISON, everything, folder_of, parameters, run

FILES = {**HONEST, **{name: content for name, (content, _) in POISON.items()}}


def listed(place: Place, path: Path) -> Path:
    write_listing(path, list_objects(store_of(place), 1 << 40))
    return path


def options(place: Place, **more: Any) -> dict[str, Any]:
    return {"source": "s3", "url": place.url, "endpoint_url": place.endpoint_url, **more}


def both(
    s3: Server, files: Mapping[str, bytes], tmp_path: Path, prefix: str = "some/where"
) -> tuple[dict[str, str], dict[str, str], Place]:
    """All outputs of the stage from a folder, and from the same files in a bucket."""
    folder = folder_of(files, tmp_path / "folder")
    run(folder, tmp_path / "from_folder", source="folder")
    place = s3.place(files, prefix)
    listing = listed(place, tmp_path / "objects.csv")
    s3.seen.clear()
    run(listing, tmp_path / "from_s3", **options(place))
    return everything(tmp_path / "from_folder"), everything(tmp_path / "from_s3"), place


def test_class_folders_give_what_the_folder_gives(s3: Server, tmp_path: Path) -> None:
    from_folder, from_s3, place = both(s3, FILES, tmp_path)
    assert from_s3 == from_folder
    # What is rejected by its name or has no bytes is not asked for.
    unread = {"empty.jpg", "Thumbs.db", ".DS_Store", "README.md", "loose.jpg"}
    asked = {path.rpartition("/")[2] for path in s3.gets()}
    assert not asked & unread
    assert len(s3.gets()) == len(FILES) - len(unread)
    # A second run asks for nothing, and reads nothing.
    s3.seen.clear()
    run(tmp_path / "objects.csv", tmp_path / "from_s3", **options(place))
    assert everything(tmp_path / "from_s3") == from_folder
    assert s3.seen == []


def test_an_archive_gives_what_the_file_gives(s3: Server, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "in.zip", FILES, zipfile.ZIP_DEFLATED)
    run(archive, tmp_path / "from_file", source="archive")
    place = s3.place({"in.zip": archive.read_bytes()})
    place = place.at(f"{place.url}/in.zip")
    given = options(place, sha256=sha256_file(archive))
    assert not fetch_of(parameters(**given), tmp_path).present  # type: ignore[union-attr]
    run(tmp_path, tmp_path / "from_s3", **given)
    assert everything(tmp_path / "from_s3") == everything(tmp_path / "from_file")
    s3.seen.clear()
    run(tmp_path, tmp_path / "from_s3", **given)
    assert s3.seen == []
    assert len(preview(parameters(**given), tmp_path).images) == len(HONEST)


@pytest.mark.shared
def test_real_images_and_requests_that_fail(
    s3: Server, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(shared / "datasets/cats-dogs.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".jpg")]
        files = {name: archive.read(name) for name in names[:: max(len(names) // 300, 1)]}
    policy = RetryPolicy(attempts=8, pause=0.01, read=30.0)
    monkeypatch.setattr(module, "open_store", lambda place, _: store_of(place, policy))
    s3.fault = unreliable(0.05, 0.5)
    from_folder, from_s3, _ = both(s3, files, tmp_path, "cats-dogs")
    assert from_s3 == from_folder
    assert len(s3.gets()) > len(files) >= 200


#: Keys that a folder can have as well, and those that it cannot.
ODD = {
    "a/back\\slash.jpg": b"1", "a/e\u0301.jpg": b"2", "a/\u00e9.jpg": b"3", "a/pl+us %41.jpg": b"4",
    "a/ctrl\x01.jpg": b"5", "a/turn\u202e.jpg": b"6", "a/empty.jpg": b"", "a/,.jpg": b"7",
    "=1+1.jpg": b"8", "a/\U0001f600.jpg": b"9",
}  # fmt: skip
IMPOSSIBLE = {
    "../out.jpg": "leads out", "a/../../out.jpg": "leads out", "a//2.jpg": "empty step",
    "./a.jpg": "empty step", "/absolute.jpg": "empty step", "a/named/": "empty step",
}  # fmt: skip


def test_odd_keys_are_treated_as_a_folder_treats_them(s3: Server, tmp_path: Path) -> None:
    folder = folder_of(ODD, tmp_path / "folder")
    place = s3.place(ODD, "in")
    s3.call("put_object", Bucket=place.bucket, Key="in/a/", Body=b"")  # a marker of a folder
    source = ObjectSource(place, listed(place, tmp_path / "objects.csv"), QUICK)
    on_disk = FolderSource(folder, 1000)
    assert source.entries == on_disk.entries
    wanted = {entry.path for entry in source.entries if entry.rejection is None}
    assert dict(source.contents(wanted)) == dict(on_disk.contents(wanted))
    for key in IMPOSSIBLE:
        s3.call("put_object", Bucket=place.bucket, Key=f"in/{key}", Body=b"x")
    source = ObjectSource(place, listed(place, tmp_path / "objects.csv"), QUICK)
    found = {entry.path: entry.rejection for entry in source.entries if entry.path in IMPOSSIBLE}
    assert len(found) == len(IMPOSSIBLE)
    for key, said in IMPOSSIBLE.items():
        rejection = found[key]
        assert rejection is not None
        assert rejection[0] == "bad_name"
        assert said in rejection[1]


def test_only_what_is_new_is_fetched(s3: Server, tmp_path: Path) -> None:
    _, _, place = both(s3, FILES, tmp_path)
    folder = tmp_path / "folder"
    extra = make_new()
    folder_of(extra, folder)
    (folder / "Pets/cat/icon.png").unlink()
    s3.put(place, extra)
    s3.delete(place, "Pets/cat/icon.png")
    run(folder, tmp_path / "from_folder", source="folder")
    listing = listed(place, tmp_path / "objects.csv")
    s3.seen.clear()
    run(listing, tmp_path / "from_s3", **options(place))
    assert everything(tmp_path / "from_s3") == everything(tmp_path / "from_folder")
    assert sorted(path.rpartition("/")[2] for path in s3.gets()) == sorted(
        path.rpartition("/")[2] for path in extra
    )


def make_new() -> dict[str, bytes]:
    from tests.images import made as make

    return {f"Pets/dog/new{number}.png": make.png(40, 30, seed=500 + number) for number in (1, 2)}


def test_without_kept_files_known_images_are_not_fetched_before_they_are_needed(
    s3: Server, tmp_path: Path
) -> None:
    from_folder, _, place = both(s3, HONEST, tmp_path)
    shutil.rmtree(downloads_folder())
    s3.seen.clear()
    run(tmp_path / "objects.csv", tmp_path / "from_s3", **options(place))
    # Outside of DVC all shards are written, so all images are needed; none is asked for twice.
    assert len(s3.gets()) == len(HONEST)
    assert everything(tmp_path / "from_s3") == from_folder


def test_a_damaged_kept_file_is_fetched_again(s3: Server, tmp_path: Path) -> None:
    from_folder, _, place = both(s3, HONEST, tmp_path)
    kept = next(path for path in (downloads_folder() / "images").rglob("*") if path.is_file())
    kept.write_bytes(b"x" * kept.stat().st_size)
    s3.seen.clear()
    run(tmp_path / "objects.csv", tmp_path / "from_s3", **options(place))
    assert everything(tmp_path / "from_s3") == from_folder
    assert len(s3.gets()) == 1


def test_all_kept_files_are_read_where_that_is_asked_for(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from_folder, _, place = both(s3, HONEST, tmp_path)
    run(tmp_path / "objects.csv", tmp_path / "from_s3", **options(place))
    assert "have the size and version with which they were checked" in capsys.readouterr().out
    monkeypatch.setenv("HEADSTART_VERIFY", "1")
    run(tmp_path / "objects.csv", tmp_path / "from_s3", **options(place))
    assert "were checked before" not in capsys.readouterr().out
    assert everything(tmp_path / "from_s3") == from_folder


def test_a_changed_object_stops_the_run(s3: Server, tmp_path: Path) -> None:
    place = s3.place(FILES)
    listing = listed(place, tmp_path / "objects.csv")
    changed = next(iter(HONEST))
    s3.put(place, {changed: make_new()["Pets/dog/new1.png"]})
    with pytest.raises(InputChangedError) as caught:
        run(listing, tmp_path / "out", **options(place))
    assert "`headstart list-objects` shows what changed" in str(caught.value)
    assert not (tmp_path / "out/images.csv").exists()
    listed(place, listing)  # the remedy
    assert run(listing, tmp_path / "out", **options(place))["kept"] == len(HONEST)
    s3.delete(place, changed)
    shutil.rmtree(downloads_folder())
    with pytest.raises(InputChangedError):
        run(listing, tmp_path / "out", **options(place))


def test_an_interrupted_run_goes_on_where_it_stopped(
    s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 1)
    place = s3.place(HONEST)
    listing = listed(place, tmp_path / "objects.csv")
    s3.seen.clear()
    s3.fault = lambda _: error(403, "AccessDenied") if len(s3.gets()) > 3 else None
    with pytest.raises(SourceError, match="gave no access"):
        run(listing, tmp_path / "out", **options(place))
    s3.seen.clear()
    s3.fault = lambda _: None
    run(listing, tmp_path / "out", **options(place))
    assert len(s3.gets()) == len(HONEST) - 3


def test_a_plan_asks_no_server(s3: Server, tmp_path: Path) -> None:
    place = s3.place(FILES)
    listing = listed(place, tmp_path / "objects.csv")
    given = parameters(**options(place))
    s3.seen.clear()
    with pytest.raises(UnseenError, match=r"until 14 images of 15 in .* has been fetched"):
        preview(given, listing)
    assert s3.seen == []
    run(listing, tmp_path / "out", **options(place))
    s3.seen.clear()
    assert len(preview(given, listing).images) == len(HONEST)
    assert s3.seen == []
    with pytest.raises(HeadstartError, match="There is no listing of objects at"):
        fetch_of(given, tmp_path / "none.csv")


def test_the_place_says_nothing_of_who_asks() -> None:
    given = parameters(source="s3", url="s3://bucket/in/", profile="lab", anonymous=True)
    place = place_of(given)
    assert place == replace(place, profile=None)
    assert place.url == "s3://bucket/in"
    assert place.identity == "s3://bucket/in"

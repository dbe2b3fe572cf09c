from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError, ImageError, SourceError
from headstart.sources.folder import FolderSource
from headstart.sources.parameters import DownloadParams, open_source
from headstart.stage.parameters import read_params
from tests.conftest import ROOT

TABLE = {"table": "labels.csv", "path_column": "file", "label_column": "label"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.jpg", "b/10.jpg", "a/1.jpg", "README.md"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "images"


def refusals(folder: Path) -> dict[str, str]:
    entries = FolderSource(folder, 10_000).entries
    return {entry.path: entry.rejection[0] for entry in entries if entry.rejection}


def test_sorted_and_complete(folder: Path) -> None:
    source = FolderSource(folder, 10_000)
    paths = [entry.path for entry in source.entries]
    assert paths == ["README.md", "a/1.jpg", "b/10.jpg", "b/2.jpg"]
    contents = dict(source.contents(set(paths)))
    assert contents == {path: path.encode() for path in paths}
    assert dict(source.contents({"a/1.jpg"})) == {"a/1.jpg": b"a/1.jpg"}


def test_the_note_that_the_folder_comes_with_is_no_file_of_the_users(folder: Path) -> None:
    note = (ROOT / "data/raw/README.md").read_bytes()
    (folder / "README.md").write_bytes(note)
    assert next(entry.path for entry in FolderSource(folder, 10_000).entries) == "a/1.jpg"
    # Anywhere else, or changed, it counts as any other file.
    (folder / "a/README.md").write_bytes(note)
    (folder / "README.md").write_bytes(note + b"mine")
    paths = [entry.path for entry in FolderSource(folder, 10_000).entries]
    assert {"README.md", "a/README.md"} <= set(paths)


@pytest.mark.parametrize("source", ["folder", "archive", "table"])
def test_a_location_without_anything_is_named_with_the_cure(source: str, tmp_path: Path) -> None:
    known = read_params(ROOT / "params.yaml").download.model_dump()
    columns = TABLE if source == "table" else {}
    params = DownloadParams(**{**known, "source": source, **columns})
    with pytest.raises(HeadstartError, match="There is nothing at") as no:
        open_source(params, tmp_path / "none")
    assert "Name their folder or file in `download.location`" in str(no.value)


def test_links_are_not_followed(folder: Path) -> None:
    (folder / "a/link.jpg").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    assert refusals(folder) == {"a/link.jpg": "link", "loop": "link"}


def test_a_file_that_becomes_a_link_is_not_followed_either(folder: Path) -> None:
    source = FolderSource(folder, 10_000)
    (folder / "a/1.jpg").unlink()
    (folder / "a/1.jpg").symlink_to(folder / "README.md")
    (_, fault), = source.contents({"a/1.jpg"})  # fmt: skip
    assert isinstance(fault, ImageError)
    assert fault.reason == "unreadable"


def test_a_file_that_grows_is_reported(folder: Path) -> None:
    source = FolderSource(folder, 10_000)
    (folder / "a/1.jpg").write_bytes(b"x" * 5000)
    (_, fault), = source.contents({"a/1.jpg"})  # fmt: skip
    assert isinstance(fault, ImageError)


def test_pipes_are_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "a/pipe.jpg")
    assert refusals(folder) == {"a/pipe.jpg": "special"}


def test_odd_names_have_a_reason(folder: Path) -> None:
    (folder / "a/line\nbreak.jpg").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(folder) + b"/a/\xff.jpg")).write_bytes(b"x")
    assert refusals(folder) == {"a/line\\x0abreak.jpg": "bad_name", "a/\\xff.jpg": "bad_name"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_files_are_reported(folder: Path) -> None:
    (folder / "a").chmod(0)
    try:
        assert refusals(folder) == {"a": "unreadable"}
    finally:
        (folder / "a").chmod(0o700)


def test_bounds_and_wrong_kinds(folder: Path) -> None:
    with pytest.raises(SourceError, match="max_total_bytes"):
        FolderSource(folder, 10)
    with pytest.raises(SourceError, match="not a folder"):
        FolderSource(folder / "README.md", 10_000)


def test_the_named_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert len(FolderSource(tmp_path / "link", 10_000).entries) == 4


def followed(folder: Path) -> dict[str, bytes | ImageError]:
    source = FolderSource(folder, 10_000, follow_links=True)
    return dict(source.contents({each.path for each in source.entries if not each.rejection}))


def test_links_are_followed_inside_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "c").symlink_to("b")
    (folder / "a/2.jpg").symlink_to("../b/2.jpg")
    (folder / "a/3.jpg").symlink_to("2.jpg")
    got = followed(folder)
    assert got["a/2.jpg"] == got["a/3.jpg"] == got["c/2.jpg"] == b"b/2.jpg"
    assert set(got) == {"README.md", "a/1.jpg", "a/2.jpg", "a/3.jpg", "b/10.jpg", "b/2.jpg",
                        "c/10.jpg", "c/2.jpg"}  # fmt: skip
    (tmp_path / "named").symlink_to(folder)
    assert followed(tmp_path / "named") == got
    offered = FolderSource(folder, 10_000, follow_links=False).entries
    details = {entry.path: entry.rejection[1] for entry in offered if entry.rejection}
    assert set(details) == {"c", "a/2.jpg", "a/3.jpg"}
    assert set(details.values()) == {"it is a link; `download.follow_links: true` follows it"}


def test_links_are_not_followed_out_of_it_nor_in_circles(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "a/out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "a/up").symlink_to("../..")
    (folder / "a/passwd.jpg").symlink_to("/etc/passwd")
    (folder / "a/none.jpg").symlink_to("none")
    (folder / "a/self.jpg").symlink_to("self.jpg")
    (folder / "loop").symlink_to(".")
    (folder / "a/to_b").symlink_to("../b")
    (folder / "b/to_a").symlink_to("../a")
    source = FolderSource(folder, 10_000, follow_links=True)
    faults = {each.path: each.rejection[1] for each in source.entries if each.rejection}
    assert "leads out" in faults["a/out.jpg"]
    assert "leads out" in faults["a/up"]
    assert "leads out" in faults["a/passwd.jpg"]
    assert "does not exist" in faults["a/none.jpg"]
    assert "does not exist" in faults["a/self.jpg"]
    assert "that it lies in" in faults["loop"]
    assert "that it lies in" in faults["a/to_b/to_a"]
    assert "that it lies in" in faults["b/to_a/to_b"]
    assert followed(folder)["a/to_b/2.jpg"] == b"b/2.jpg"
    assert b"secret" not in followed(folder).values()


def test_a_file_that_becomes_a_link_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    source = FolderSource(folder, 10_000, follow_links=True)
    (tmp_path / "secret.jpg").write_bytes(b"a/1.jpg")
    (folder / "a/1.jpg").unlink()
    (folder / "a/1.jpg").symlink_to(tmp_path / "secret.jpg")
    (_, fault), = source.contents({"a/1.jpg"})  # fmt: skip
    assert isinstance(fault, ImageError)
    assert fault.reason == "link"


def test_folders_that_link_to_each_other_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in range(8):
        (tmp_path / f"in/{one}").mkdir(parents=True)
        for other in range(8):
            (tmp_path / f"in/{one}/{other}").symlink_to(f"../{other}")
    monkeypatch.setattr("headstart.sources.folder._MOST_ITEMS", 10_000)
    with pytest.raises(SourceError, match="loops of links"):
        FolderSource(tmp_path / "in", 10_000, follow_links=True)

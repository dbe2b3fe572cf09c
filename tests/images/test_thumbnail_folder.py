"""The album of what was rejected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from headstart.images.thumbnail_folder import Album, find


@pytest.mark.parametrize("path", ["a.jpg", "../../etc/passwd", "/abs", "ü\udcff.png", "x" * 5000])
def test_an_image_is_found_by_its_path_and_stays_in_the_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    Album(folder).add(path, "truncated", b"jpeg")
    assert find(folder, path) == b"jpeg"
    assert find(folder, path + "x") is None
    assert [file.name for file in tmp_path.iterdir()] == ["album"]
    assert len(list(folder.iterdir())) == 1


def test_the_index_says_which_is_whose(tmp_path: Path) -> None:
    album = Album(tmp_path)
    for path in ("b, c.jpg", "a.jpg"):
        album.add(path, "truncated", b"jpeg")
    album.close()
    index = pd.read_csv(tmp_path / "index.csv")
    assert list(index["path"]) == ["a.jpg", "b, c.jpg"]
    assert all((tmp_path / name).is_file() for name in index["image"])


def test_the_index_of_nothing_is_a_header(tmp_path: Path) -> None:
    Album(tmp_path).close()
    assert (tmp_path / "index.csv").read_text() == "image,path\n"


def test_there_is_room_for_a_few_of_each_reason(tmp_path: Path) -> None:
    album = Album(tmp_path)
    added = 0
    while album.wants("truncated"):
        album.add(f"{added}.jpg", "truncated", b"jpeg")
        added += 1
    assert 5 <= added <= 30
    assert album.wants("corrupt")

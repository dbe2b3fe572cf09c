"""Small images of what was rejected: the part that is there, in bounds, and never an error."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images import thumbnails as module
from headstart.images.decode import Limits
from headstart.images.thumbnails import ThumbnailFolder, find_thumbnail, reduced, rejected_thumbnail


def scene(kind: str, side: tuple[int, int] = (400, 300)) -> bytes:
    image = Image.linear_gradient("L").resize(side).convert("RGB")
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def opened(content: bytes | None) -> Image.Image:
    assert content is not None
    image = Image.open(io.BytesIO(content))
    assert image.format == "JPEG"
    image.load()
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_an_image_of_a_refused_format_is_shown(kind: str) -> None:
    assert opened(rejected_thumbnail(scene(kind))).size == (160, 120)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_of_an_image_that_ends_too_early_the_part_is_shown(kind: str) -> None:
    content = scene(kind)
    image = opened(rejected_thumbnail(content[: len(content) * 2 // 3]))
    assert image.size == (160, 120)


def test_a_tiny_image_stays_tiny() -> None:
    assert opened(rejected_thumbnail(scene("PNG", (5, 3)))).size == (5, 3)


@pytest.mark.parametrize("content", [b"", b"MZ\x90", b"\xff\xd8\xff" + b"\0" * 99, b"<svg/>"])
def test_nothing_is_shown_of_what_shows_nothing(content: bytes) -> None:
    assert rejected_thumbnail(content) is None


def test_an_image_beyond_the_bounds_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PIXELS", 10_000)
    monkeypatch.setattr(module, "load", lambda *_: pytest.fail("decoded"))
    assert rejected_thumbnail(scene("PNG")) is None
    # A header that promises a hundred thousand pixels a side.
    bomb = bytearray(scene("PNG", (5, 3)))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    assert rejected_thumbnail(bytes(bomb)) is None


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF"]), st.data())
def test_damage_never_raises(noise: bytes, kind: str, data: st.DataObject) -> None:
    content = bytearray(scene(kind, (40, 30)))
    place = data.draw(st.integers(0, len(content)))
    content[place : place + len(noise)] = noise
    found = rejected_thumbnail(bytes(content))
    assert found is None or max(opened(found).size) <= 160


def test_reduced_keeps_the_limits() -> None:
    with pytest.raises(ImageError, match="too_large"):
        reduced(scene("PNG"), Limits(max_pixels=100))
    assert reduced(scene("JPEG", (3000, 100)), Limits()).size == (160, 5)


@pytest.mark.parametrize("path", ["a.jpg", "../../etc/passwd", "/abs", "ü\udcff.png", "x" * 5000])
def test_an_image_is_found_by_its_path_and_stays_in_the_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "thumbnails"
    folder.mkdir()
    ThumbnailFolder(folder).add(path, "truncated", b"jpeg")
    assert find_thumbnail(folder, path) == b"jpeg"
    assert find_thumbnail(folder, path + "x") is None
    assert [file.name for file in tmp_path.iterdir()] == ["thumbnails"]
    assert len(list(folder.iterdir())) == 1


def test_the_index_says_which_is_whose(tmp_path: Path) -> None:
    folder = ThumbnailFolder(tmp_path)
    for path in ("b, c.jpg", "a.jpg"):
        folder.add(path, "truncated", b"jpeg")
    folder.close()
    index = pd.read_csv(tmp_path / "index.csv")
    assert list(index["path"]) == ["a.jpg", "b, c.jpg"]
    assert all((tmp_path / name).is_file() for name in index["image"])


def test_the_index_of_nothing_is_a_header(tmp_path: Path) -> None:
    ThumbnailFolder(tmp_path).close()
    assert (tmp_path / "index.csv").read_text() == "image,path\n"


def test_there_is_room_for_a_few_of_each_reason(tmp_path: Path) -> None:
    folder = ThumbnailFolder(tmp_path)
    added = 0
    while folder.has_room("truncated"):
        folder.add(f"{added}.jpg", "truncated", b"jpeg")
        added += 1
    assert 5 <= added <= 30
    assert folder.has_room("corrupt")

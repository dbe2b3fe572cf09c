"""Small images of what was rejected: the part that is there, in bounds, and never an error."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images import thumbnails as module
from headstart.images.decode import Limits
from headstart.images.thumbnails import glimpse, reduced


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
    assert opened(glimpse(scene(kind))).size == (160, 120)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_of_an_image_that_ends_too_early_the_part_is_shown(kind: str) -> None:
    content = scene(kind)
    image = opened(glimpse(content[: len(content) * 2 // 3]))
    assert image.size == (160, 120)


def test_a_tiny_image_stays_tiny() -> None:
    assert opened(glimpse(scene("PNG", (5, 3)))).size == (5, 3)


@pytest.mark.parametrize("content", [b"", b"MZ\x90", b"\xff\xd8\xff" + b"\0" * 99, b"<svg/>"])
def test_nothing_is_shown_of_what_shows_nothing(content: bytes) -> None:
    assert glimpse(content) is None


def test_an_image_beyond_the_bounds_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PIXELS", 10_000)
    monkeypatch.setattr(module, "load", lambda *_: pytest.fail("decoded"))
    assert glimpse(scene("PNG")) is None
    # A header that promises a hundred thousand pixels a side.
    bomb = bytearray(scene("PNG", (5, 3)))
    bomb[16:24] = (100_000).to_bytes(4, "big") * 2
    assert glimpse(bytes(bomb)) is None


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF"]), st.data())
def test_damage_never_raises(noise: bytes, kind: str, data: st.DataObject) -> None:
    content = bytearray(scene(kind, (40, 30)))
    place = data.draw(st.integers(0, len(content)))
    content[place : place + len(noise)] = noise
    found = glimpse(bytes(content))
    assert found is None or max(opened(found).size) <= 160


def test_reduced_keeps_the_limits() -> None:
    with pytest.raises(ImageError, match="too_large"):
        reduced(scene("PNG"), Limits(max_pixels=100))
    assert reduced(scene("JPEG", (3000, 100)), Limits()).size == (160, 5)

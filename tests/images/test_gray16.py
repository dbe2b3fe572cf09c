"""16-bit gray images of a camera of fewer bits are spread over the range that a network sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from headstart.images.resize import SPEC, pixels, spec, stretched_pixels
from tests.images import kinds
from tests.images import made as make

BITS = range(8, 16)
Samples = npt.NDArray[np.uint16]
VALUES: Samples = np.random.Generator(np.random.Philox(12)).integers(0, 65536, (24, 24), np.uint16)
TWELVE: Samples = VALUES // np.uint16(16)


def level(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """The upper 8 of so many bits."""
    found: npt.NDArray[Any] = np.minimum(values.astype(int), 2**bits - 1) // 2 ** (bits - 8)
    return found


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_largest_number_of_the_bits_is_white(kind: str, bits: int) -> None:
    for values in (VALUES, VALUES >> (16 - bits)):
        got = pixels(make.encoded(Image.fromarray(values), kind), 24, gray16_bits=bits)
        assert np.array_equal(got, np.repeat(level(values, bits)[..., None], 3, axis=2))
    assert got.min() < 8
    assert got.max() > 247


def test_where_0_is_white_the_largest_number_is_black() -> None:
    content = kinds.tiff_of(kinds.packed(TWELVE[..., None], 16, "<"), [16], 0)
    got = pixels(content, 24, gray16_bits=12)
    assert np.array_equal(got[..., 0], (4095 - TWELVE) // 16)


def test_a_transparent_number_is_compared_as_it_is_stored() -> None:
    values = np.full((24, 24), 5000, np.uint16)
    values[:12] = 100
    content = make.encoded(Image.fromarray(values), "PNG", transparency=100)
    got = pixels(content, 24, gray16_bits=13)[..., 0]
    assert (got[:12] == 255).all()
    assert (got[12:] == 5000 // 32).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("low", "high"), [(0, 65_000), (0, 4095), (100, 131), (32_000, 33_000)])
def test_what_is_compared_is_spread_over_its_own_range(kind: str, low: int, high: int) -> None:
    ramp = np.linspace(low, high, 24 * 24).round().astype(np.uint16).reshape(24, 24)
    got = stretched_pixels(make.encoded(Image.fromarray(ramp), kind), 24)[..., 0]
    assert (got.min(), got.max()) == (0, 255)
    wanted = (ramp.astype(int) - low) * 255 // (high - low)
    assert np.array_equal(got, wanted)


def test_a_defective_pixel_and_a_transparent_one_do_not_decide_the_range() -> None:
    ramp = np.linspace(0, 4000, 40 * 40).round().astype(np.uint16).reshape(40, 40)
    ramp[3, 4], ramp[5:9] = 60_000, 77
    content = make.encoded(Image.fromarray(ramp), "PNG", transparency=77)
    got = stretched_pixels(content, 40)[..., 0]
    assert got[3, 4] == 255
    assert (got[5:9] == 255).all()
    assert got[20, 20] in range(126, 134)
    assert got[-1].min() > 240


@pytest.mark.parametrize("value", [0, 77, 65535])
def test_one_value_and_one_spot_can_be_stretched(value: int) -> None:
    flat = np.full((64, 64), value, np.uint16)
    got = stretched_pixels(make.encoded(Image.fromarray(flat), "PNG"), 64)
    assert (got == (255 if value == 65535 else 0)).all()
    flat[9, 9] = 90  # less than one of 1,000, and all that there is
    got = stretched_pixels(make.encoded(Image.fromarray(flat), "PNG"), 64)[..., 0]
    assert got[9, 9] != got[0, 0]


def test_other_images_are_not_stretched() -> None:
    color = kinds.png_of(kinds.random(3, 16), 2, 16)
    for content in (color, make.jpeg(), make.png(), make.encoded(make.noise().convert("L"), "PNG")):
        plain = pixels(content, 24, gray16_bits=None)
        assert np.array_equal(stretched_pixels(content, 24), plain)


def test_other_images_do_not_change() -> None:
    gray = [make.encoded(make.noise().convert("L"), kind) for kind in ("PNG", "TIFF", "JPEG")]
    color = [kinds.png_of(kinds.random(channels, 16), kind, 16)
             for kind, channels in ((2, 3), (4, 2), (6, 4))]  # fmt: skip
    twelve = kinds.tiff_of(kinds.packed(TWELVE[..., None], 12), [12], 1)
    for content in (*gray, *color, twelve, make.jpeg(), make.png()):
        plain = pixels(content, 24, gray16_bits=None)
        assert np.array_equal(pixels(content, 24, gray16_bits=9), plain)


def test_the_way_to_pixels_names_the_bits_only_where_they_are_set() -> None:
    assert spec(None) == SPEC
    assert len({spec(bits) for bits in (None, *BITS)}) == 1 + len(BITS)

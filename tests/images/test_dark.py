"""Images of 16 bits that are nearly black are told from all others."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from headstart.images.dark import Depth, unfit_depth
from headstart.images.decode import Limits
from tests.images import kinds
from tests.images import made as make


def deep(largest: int, kind: str = "PNG") -> bytes:
    values = np.linspace(0, largest, 400).reshape(20, 20).astype(np.uint16)
    return make.encoded(Image.fromarray(values), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "bits"), [(4095, 12), (255, 8), (4096, None), (65535, None), (0, None)]
)
def test_what_is_nearly_black(largest: int, bits: int | None, kind: str) -> None:
    found = unfit_depth(deep(largest, kind), Limits(), None)
    assert found == (None if bits is None else Depth(bits, 16))
    assert found is None or (found.dark and not found.cut)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "dark", "cut"),
    [(4095, False, False), (511, False, False), (255, True, False), (4096, False, True)],
)
def test_what_is_nearly_black_or_cut_with_12_bits(
    largest: int, dark: bool, cut: bool, kind: str
) -> None:
    found = unfit_depth(deep(largest, kind), Limits(), 12)
    assert (found is not None) == (dark or cut)
    assert found is None or (found.white, found.dark, found.cut) == (12, dark, cut)


def test_colors_stay_as_they_are_and_are_named() -> None:
    samples = kinds.random(3, 16)
    samples >>= 4
    samples |= 0x800
    content = kinds.png_of(samples, 2, 16)
    assert unfit_depth(content, Limits(), 12) == Depth(12, 16)


def test_other_images_are_not() -> None:
    black = make.encoded(Image.new("RGB", (20, 20)), "PNG")
    for content in (black, make.jpeg(), make.encoded(make.noise(), "TIFF"), deep(255)[:60], b""):
        assert unfit_depth(content, Limits(), None) is None
        assert unfit_depth(content, Limits(), 12) is None

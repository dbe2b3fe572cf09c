"""Images of 16 bits that are nearly black are told from all others."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from headstart.images.dark import dark_bits
from headstart.images.decode import Limits
from tests.images import made as make


def deep(largest: int, kind: str = "PNG") -> bytes:
    values = np.linspace(0, largest, 400).reshape(20, 20).astype(np.uint16)
    return make.encoded(Image.fromarray(values), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "bits"), [(4095, 12), (255, 8), (4096, None), (65535, None), (0, None)]
)
def test_what_is_nearly_black(largest: int, bits: int | None, kind: str) -> None:
    assert dark_bits(deep(largest, kind), Limits()) == bits


def test_other_images_are_not() -> None:
    black = make.encoded(Image.new("RGB", (20, 20)), "PNG")
    for content in (black, make.jpeg(), make.encoded(make.noise(), "TIFF"), deep(255)[:60], b""):
        assert dark_bits(content, Limits()) is None

"""Images of 16 bits that are nearly black, because their camera has fewer."""

from __future__ import annotations

from headstart._utils.errors import ImageError
from headstart.images import png
from headstart.images.decode import Limits, inspect
from headstart.images.formats import detect
from headstart.images.samples import DARK_BITS


def dark_bits(content: bytes, limits: Limits) -> int | None:
    """Return how many bits a 16-bit image needs, if they are few; None for all other images.

    Images of other kinds cost a look at their header.
    """
    name = detect(content)
    if name != "tiff" and not (name == "png" and png.depth(content) == 16):
        return None
    try:
        bits = inspect(content, limits).traits.bits
    except ImageError:
        return None
    return bits if bits and bits <= DARK_BITS else None

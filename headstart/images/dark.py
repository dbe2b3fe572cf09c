"""16-bit images that use too few or too many bits for the range that a network sees."""

from __future__ import annotations

from dataclasses import dataclass

from headstart._utils.errors import ImageError
from headstart.images import png
from headstart.images.decode import Limits, big_slot, load, opened, sniff
from headstart.images.formats import detect
from headstart.images.samples import DARK_BITS, traits

#: Nothing is brighter than a sixteenth of white if this many of its bits are not used.
_UNUSED = 16 - DARK_BITS


@dataclass(frozen=True)
class Depth:
    """The bits of a 16-bit image.

    Attributes
    ----------
    bits : int
        Those that its largest sample needs.
    white : int
        Those that white has: 16, or ``gray16_bits`` where it holds for the image.
    """

    bits: int
    white: int

    @property
    def dark(self) -> bool:
        """True if the image is nearly black."""
        return 0 < self.bits <= self.white - _UNUSED

    @property
    def cut(self) -> bool:
        """True if values above white are cut to it."""
        return self.bits > self.white


def unfit_depth(content: bytes, limits: Limits, gray16_bits: int | None) -> Depth | None:
    """Return the bits of a 16-bit image that is nearly black or cut; None for all other images.

    Of other images, only the header is read.
    """
    name = detect(content)
    if name != "tiff" and not (name == "png" and png.depth(content) == 16):
        return None
    try:
        sniff(content, limits)
        with opened(content, name, limits) as image, big_slot(image):
            load(image, content, name)
            bits = traits(image, content, name).bits
            gray = image.mode.startswith("I;16")
    except ImageError:
        return None
    if bits is None:
        return None
    found = Depth(bits, gray16_bits if gray and gray16_bits is not None else 16)
    return found if found.dark or found.cut else None

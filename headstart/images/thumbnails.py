"""What can be seen of an image, small, within bounds: also of one that no stage will take.

Nothing here decides anything: an image that was rejected stays rejected. A person sees why.
"""

from __future__ import annotations

import io

from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits, big_slot, load, opened, quiet, sniff, upright
from headstart.images.resize import rgb

SIDE = 160  # pixels of the longer side, on a page
_QUALITY = 78
#: A JPEG is decoded at an eighth at the least; of others every pixel has to be.
_MOST_PIXELS = 16_000_000
_MOST_BYTES = 20_000_000


def reduced(content: bytes, limits: Limits, side: int = SIDE) -> Image.Image:
    """The decoded image, RGB, upright, its longer side at most ``side`` pixels.

    Raises
    ------
    ImageError
        If the content is no image within the limits.
    """
    name = sniff(content, limits)
    with opened(content, name, limits) as image, big_slot(image):
        if name == "jpeg":
            image.draft(None, (2 * side, 2 * side))
        load(image, content, name)
        return _small(image, side)


def glimpse(content: bytes) -> bytes | None:
    """A small JPEG of a file that was rejected; None if nothing of it can be shown.

    Of an image that ends too early, the part that is there.
    """
    limits = Limits(min_side=1, max_pixels=1 << 62, max_bytes=_MOST_BYTES)
    try:
        name = sniff(content, limits)
        with opened(content, name, limits) as image:
            if name == "jpeg":
                image.draft(None, (2 * SIDE, 2 * SIDE))
            if image.size[0] * image.size[1] > _MOST_PIXELS:
                return None
            try:
                load(image, content, name)
            except ImageError:
                # The rest is not there: what was decoded is all.
                image.tile = []  # type: ignore[attr-defined]  # it is a file's
            small = _small(image, SIDE)
    except Exception:  # noqa: BLE001 - a stranger's pixels can raise anything, and are not needed
        return None
    if all(low == high for low, high in _extrema(small)):
        return None  # One color: nothing was decoded.
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    return [band.getextrema() for band in image.split()]  # type: ignore[misc]  # one band: a pair


def _small(image: Image.Image, side: int) -> Image.Image:
    with quiet():
        try:
            flat = rgb(image)
            flat.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
            return upright(flat, record=image)
        except (MemoryError, OSError, ValueError) as error:
            raise ImageError("corrupt", f"no way from {image.mode} to RGB: {error}") from error

"""Decode and resize an image to the pixels that a network sees: one way for all stages.

RGB, 8 bits, resized to a square of ``size`` with Pillow's bilinear filter, which is antialiased
when it shrinks. Where several results are possible, these are chosen:

* EXIF orientation is applied; of an animation the first frame is taken.
* 16-bit images keep their high byte, as Pillow does for colors and TensorFlow for all images
  (Pillow's own ``convert`` would saturate 16-bit grays to white). If only the lower bits of gray
  images are in use (``gray16_bits``), the upper 8 of these are kept.
* Transparency is laid over white: the colors beneath it are often black, or noise.
* A JPEG of more than twice the size is decoded at a half, a quarter or an eighth, never below
  2 × ``size``, and the exact part of the reduced image is taken. On photos this differs from the
  whole decode by 0.3 of 255 levels on average and takes a seventh of the time at 4000 × 3000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, __version__

from headstart._utils.errors import ImageError
from headstart.images.decode import INSPECTED, Limits, big_slot, load, opened, quiet, sniff, upright
from headstart.images.samples import gray16, stretched16

#: Everything but the image itself that decides the pixels; part of the fingerprint of features.
SPEC = f"pillow-{__version__}/exif,first-frame,16>>8,over-white/draft-2x,bilinear/2"

_Gray = Callable[[Image.Image], npt.NDArray[np.uint8]]

_WHITE = 255
_STRIP = 1 << 16  # pixels


def spec(gray16_bits: int | None) -> str:
    """Return :data:`SPEC` with the bits of white in 16-bit gray images, where they are set."""
    return SPEC if gray16_bits is None else f"{SPEC}/gray16-of-{gray16_bits}-bits"


def pixels(
    content: bytes, size: int, limits: Limits = INSPECTED, *, gray16_bits: int | None
) -> npt.NDArray[np.uint8]:
    """Decode, turn upright and resize an image.

    Parameters
    ----------
    content : bytes
        The image's file.
    size : int
        Side of the result in pixels.
    limits : Limits
        For images that the stage download has not inspected.
    gray16_bits : int or None
        White of a 16-bit gray image is ``2**gray16_bits - 1``; larger values are cut. None: 65535.

    Returns
    -------
    ndarray of shape (size, size, 3), uint8
        RGB, 0 to 255, C order, writable.

    Raises
    ------
    ImageError
        If the content is not an image within the limits.
    """
    return _resized(content, size, limits, lambda image: _upper8(image, gray16_bits))


def stretched_pixels(content: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decode and resize an image, with 16-bit gray spread over the range of its own values.

    The result shows the content of an image whatever its bits, and not its brightness.
    """
    return _resized(content, size, INSPECTED, stretched16)


def _resized(content: bytes, size: int, limits: Limits, gray: _Gray) -> npt.NDArray[np.uint8]:
    name = sniff(content, limits)
    with opened(content, name, limits) as image, big_slot(image):
        reduced = image.draft(None, (2 * size, 2 * size)) if name == "jpeg" else None
        box = reduced[1] if reduced else None
        load(image, content, name)
        with converting(image):
            whole = _flat(image, gray)
            flat = whole.resize((size, size), Image.Resampling.BILINEAR, box=box)
            # A square turned after resizing costs nothing; the filter is symmetric.
            return np.array(upright(flat.convert("RGB"), record=image))


@contextmanager
def converting(image: Image.Image) -> Iterator[None]:
    """Raise an ImageError if the block cannot convert a decoded image to RGB."""
    with quiet():
        try:
            yield
        except (MemoryError, OSError, ValueError) as error:
            detail = f"no conversion from {image.mode} to RGB: {error}"
            raise ImageError("corrupt", detail) from error


def rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as 8-bit RGB, transparency over white, not turned or resized."""
    return _flat(image, lambda image: _upper8(image, None)).convert("RGB")


def _upper8(image: Image.Image, gray16_bits: int | None) -> npt.NDArray[np.uint8]:
    return (gray16(image, gray16_bits) >> 8).astype(np.uint8)


def _flat(image: Image.Image, gray: _Gray) -> Image.Image:
    """Return the same, but gray images with one band: it is resized as each of three would be.

    ``gray`` makes 8 bits of a gray image of 16.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray(gray(image))
    if image.has_transparency_data:
        return _over_white(image.convert("RGBA"))
    return image if image.mode == "L" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """Return ``(color × alpha + 255 × (255 − alpha)) / 255``, rounded: integers, so exact.

    In strips, whose sums fit in 16 bits: a few hundred bytes can hold 50 million pixels.
    """
    layers = np.asarray(image)
    mixed = np.empty((*layers.shape[:2], 3), np.uint8)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = layers[top : top + rows].astype(np.uint16)
        alpha = strip[..., 3]
        ground = _WHITE * (_WHITE - alpha) + np.uint16(_WHITE // 2)
        for channel in range(3):
            level = strip[..., channel] * alpha + ground
            # Divided by 255: exact for what 16 bits hold here, and five times as fast.
            mixed[top : top + rows, :, channel] = (level + 1 + (level >> 8)) >> 8
    return Image.fromarray(mixed)

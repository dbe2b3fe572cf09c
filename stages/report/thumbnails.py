"""Small pictures for a page, as ``data:`` addresses: decoded within bounds, never enlarged."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from stages.core.errors import PictureError
from stages.imaging.decode import Limits, big_slot, load, opened, quiet, sniff, upright
from stages.imaging.pixels import rgb

_SIDE = 160  # pixels; shown at up to 150
_SMALL = 64  # pictures up to this side lose nothing
_SQUARES = 32  # and up to this one the page shows their pixels as squares
_QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Attributes
    ----------
    src : str
        A ``data:`` address.
    width, height : int
        Pixels.
    small : bool
        Of so few pixels that they should be shown as squares.
    """

    src: str
    width: int
    height: int
    small: bool


def thumbnail(content: bytes, limits: Limits | None = None) -> Thumbnail:
    """A picture at no more than 160 pixels a side, upright, its proportions kept.

    Raises
    ------
    PictureError
        If the content is no picture within the limits.
    """
    image = reduced(content, limits or Limits(min_side=1))
    small = max(image.size) <= _SMALL
    stream = io.BytesIO()
    if small:  # JPEG would blur what little there is.
        image.save(stream, "PNG", optimize=False)
    else:
        image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    kind = "png" if small else "jpeg"
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", *image.size, max(image.size) <= _SQUARES)


def reduced(content: bytes, limits: Limits) -> Image.Image:
    """The decoded picture, RGB, upright, its longer side at most 160 pixels."""
    name = sniff(content, limits)
    with opened(content, name, limits) as image, big_slot(image):
        if name == "jpeg":
            image.draft(None, (2 * _SIDE, 2 * _SIDE))
        load(image, content, name)
        with quiet():
            try:
                flat = rgb(image)
                flat.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
                return upright(flat, record=image)
            except (MemoryError, OSError, ValueError) as error:
                raise PictureError("corrupt", f"no way from {image.mode} to RGB") from error

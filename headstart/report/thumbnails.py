"""Small images for a page, as ``data:`` addresses: decoded within bounds, never enlarged."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from headstart.images.decode import INSPECTED
from headstart.images.thumbnail_folder import find
from headstart.images.thumbnails import reduced

_SMALL = 64  # images up to this side lose nothing
_SQUARES = 32  # and up to this one the page shows their pixels as squares
_QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A small image.

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


def thumbnail(content: bytes) -> Thumbnail:
    """An image at no more than 160 pixels a side, upright, its proportions kept.

    Raises
    ------
    ImageError
        If the content is no image within Pillow's own bounds.
    """
    image = reduced(content, INSPECTED)
    stream = io.BytesIO()
    if max(image.size) <= _SMALL:  # JPEG would blur what little there is.
        image.save(stream, "PNG")
        kind = "png"
    else:
        image.save(stream, "JPEG", quality=_QUALITY)
        kind = "jpeg"
    return _made(stream.getvalue(), kind, image.size)


def kept(folder: Path, path: str) -> Thumbnail | None:
    """The small image that was kept of a file that was rejected, if there is one."""
    content = find(folder, path)
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return _made(content, "jpeg", image.size)


def _made(content: bytes, kind: str, size: tuple[int, int]) -> Thumbnail:
    text = base64.b64encode(content).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", *size, max(size) <= _SQUARES)

"""Thumbnails for people, within bounds, even of images that were rejected.

Nothing here decides anything: an image that was rejected stays rejected, and a person sees why.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pandas as pd
from PIL import Image

from headstart._utils.csv_text import csv_text
from headstart._utils.errors import ImageError
from headstart._utils.files import sha256_bytes, write_bytes, write_text
from headstart.images.decode import Limits, big_slot, load, opened, sniff, upright
from headstart.images.resize import converting, rgb

SIDE = 160  # pixels of the longer side, on a page
INDEX = "index.csv"
_QUALITY = 78
#: A JPEG is decoded at an eighth at the least; of other formats every pixel has to be.
_MOST_PIXELS = 16_000_000
_MOST_BYTES = 20_000_000
_PER_REASON = 12
_DIGITS = 32


def reduced(content: bytes, limits: Limits, side: int = SIDE) -> Image.Image:
    """Return the decoded image, RGB, upright, its longer side at most ``side`` pixels.

    Raises
    ------
    ImageError
        If the content is not an image within the limits.
    """
    name = sniff(content, limits)
    with opened(content, name, limits) as image, big_slot(image):
        if name == "jpeg":
            image.draft(None, (2 * side, 2 * side))
        load(image, content, name)
        return _small(image, side)


def rejected_thumbnail(content: bytes) -> bytes | None:
    """Return a small JPEG of a rejected file; None if nothing of it can be shown.

    If the image ends too early, it shows the part that is there.
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
                # The rest is missing: show what was decoded before.
                image.tile = []  # type: ignore[attr-defined]  # a file's image has tiles
            small = _small(image, SIDE)
    except Exception:  # noqa: BLE001 - untrusted pixels can raise anything, and are not needed
        return None
    extrema = [band.getextrema() for band in small.split()]
    if all(low == high for low, high in extrema):
        return None  # One color: nothing was decoded.
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _small(image: Image.Image, side: int) -> Image.Image:
    with converting(image):
        flat = rgb(image)
        flat.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return upright(flat, record=image)


class ThumbnailFolder:
    """Collects thumbnails of rejected files, the first few of every reason.

    Names are made from the path's hash, so that an untrusted name never becomes a file's name;
    ``index.csv`` maps them to the paths.

    Parameters
    ----------
    folder : Path
        An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: Counter[str] = Counter()
        self._paths: list[str] = []

    def has_room(self, reason: str) -> bool:
        """Return whether there is room for one more file with this reason."""
        return self._counts[reason] < _PER_REASON

    def add(self, path: str, reason: str, image: bytes) -> None:
        """Write the thumbnail (a JPEG) of the file with this path."""
        self._counts[reason] += 1
        self._paths.append(path)
        write_bytes(self._folder / _name(path), image)

    def close(self) -> None:
        """Write the index, even without thumbnails."""
        paths = sorted(self._paths)
        table = pd.DataFrame({"image": [_name(path) for path in paths], "path": paths}, dtype=str)
        write_text(self._folder / INDEX, csv_text(table))


def find_thumbnail(folder: Path, path: str) -> bytes | None:
    """Return the thumbnail of the file with this path; None if there is none."""
    file = folder / _name(path)
    return file.read_bytes() if file.is_file() else None


def _name(path: str) -> str:
    return sha256_bytes(path.encode("utf-8", "surrogateescape"))[:_DIGITS] + ".jpg"

"""1,797 handwritten digits that come with scikit-learn: nothing to fetch, ten classes.

The pictures are 8 × 8 grays of 17 levels (E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998, its test part). They are written as PNG
files without compression, so that their bytes depend on no version of any encoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stages.core.errors import PictureError
from stages.sources.entries import Entry

_LEVELS = 16  # a pixel counts the dark ones of a 4 × 4 block: 0 to 16


class EmbeddedSource:
    """The digits as ``digits/<digit>/<number in the data set>.png``, sorted by path."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # 1 s that other sources need not pay

        digits = load_digits()
        self._files = {
            f"digits/{label}/{number:04}.png": gray_png(to_gray(picture))
            for number, (label, picture) in enumerate(
                zip(digits.target, digits.images, strict=True)
            )
        }
        self._entries = [Entry(path, len(self._files[path])) for path in sorted(self._files)]

    @property
    def origin(self) -> str:
        """The source in words."""
        return "The embedded digits"

    @property
    def entries(self) -> Sequence[Entry]:
        """All 1,797 pictures."""
        return self._entries

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | PictureError]]:
        """The bytes of each wanted path."""
        for entry in self._entries:
            if entry.path in wanted:
                yield entry.path, self._files[entry.path]


def to_gray(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Levels 0 to 16 as grays 0 to 255, rounded half up."""
    exact = levels.astype(np.int64)
    return ((exact * 255 + _LEVELS // 2) // _LEVELS).astype(np.uint8)


def gray_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit grayscale PNG whose bytes follow from the pixels alone.

    Parameters
    ----------
    pixels : ndarray of shape (height, width), uint8
        Small enough for one stored block: (width + 1) × height < 65,536.
    """
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: no filter
    # One final stored block in zlib's frame (RFC 1950, RFC 1951): what an encoder would choose
    # differs between versions of zlib.
    block = b"\x01" + struct.pack("<HH", len(rows), len(rows) ^ 0xFFFF) + rows
    data = b"\x78\x01" + block + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum

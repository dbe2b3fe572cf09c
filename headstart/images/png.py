"""PNG files whose bytes follow from the pixels alone, whatever the version of any encoder."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_COLORS = {1: 0, 3: 2, 4: 6}  # channels to PNG's color type: gray, RGB, RGBA
_BLOCK = 65_535  # bytes that a stored block of deflate can hold


def canonical_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an 8-bit PNG without compression.

    Parameters
    ----------
    pixels : ndarray of shape (height, width) or (height, width, 1, 3 or 4), uint8
        Gray, RGB or RGBA.
    """
    deep = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = deep.shape
    rows = b"".join(b"\0" + row.tobytes() for row in deep)  # 0: no filter
    # Stored blocks in zlib's frame (RFC 1950, RFC 1951): what an encoder would choose differs
    # between versions of zlib.
    starts = range(0, len(rows), _BLOCK)
    blocks = b"".join(
        bytes([start + _BLOCK >= len(rows)])  # 1: the last one
        + struct.pack("<HH", len(part := rows[start : start + _BLOCK]), len(part) ^ 0xFFFF)
        + part
        for start in starts
    )
    data = b"\x78\x01" + blocks + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLORS[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum

"""PNG files: write them so that their bytes depend on the pixels alone, and read their chunks.

Pillow decodes the pixels. The chunks are read here where Pillow does not say enough about them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_COLORS = {1: 0, 3: 2, 4: 6}  # channels to PNG's color type: gray, RGB, RGBA
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_ORIENTED = {b"Raw profile type exif", b"XML:com.adobe.xmp"}  # names of texts
_MOST_TEXT = 1 << 20  # bytes; Pillow accepts no more, and no orientation needs it
_MOST_CHUNKS = 200_000  # 100 MB in chunks of 512 bytes
_BLOCK = 65_535  # bytes that a stored block of deflate can hold


def canonical_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an 8-bit PNG without compression, the same whatever the version of any encoder.

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


class Chunk(NamedTuple):
    """A chunk: its kind, and where its data begins and ends; four bytes of checksum follow."""

    kind: bytes
    start: int
    end: int


def chunks(content: bytes) -> Iterator[Chunk]:
    """Yield the complete chunks of a PNG file up to IEND, whatever follows it.

    Raises
    ------
    ValueError
        If there are more than any encoder writes: to walk through millions takes seconds.
    """
    place = 8
    count = 0
    while place + 12 <= len(content):  # Length, kind and checksum, four bytes each.
        count += 1
        if count > _MOST_CHUNKS:
            raise ValueError(f"it has more than {_MOST_CHUNKS:,} chunks")
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        if end + 4 > len(content):
            return
        kind = content[place + 4 : place + 8]
        yield Chunk(kind, place + 8, end)
        if kind == b"IEND":
            return
        place = end + 4


def readable(content: bytes) -> bytes:
    """Return a PNG file without text and color profiles, which do not affect its pixels.

    Pillow refuses a file with much text, and takes a text named "interlace" or "transparency" for
    what the file says of its pixels. The first text of each kind that may state the orientation is
    kept, up to 1 MB.
    """
    kept = bytearray()
    place = 0
    oriented: set[bytes] = set()
    for chunk in chunks(content):
        if chunk.kind in _TEXTS:
            data = content[chunk.start : chunk.end]
            name = data[: data.find(b"\0")]
            if name in _ORIENTED - oriented and _is_short(data, chunk.kind):
                oriented.add(name)
                continue
        elif chunk.kind != b"iCCP":
            continue
        kept += content[place : chunk.start - 8]
        place = chunk.end + 4
    return bytes(kept + content[place:]) if place else content


def _is_short(data: bytes, kind: bytes) -> bool:
    """Return whether a text has at most 1 MB when it is unpacked; damaged text is short."""
    _, _, rest = data.partition(b"\0")
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return len(rest) <= _MOST_TEXT
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, _MOST_TEXT)
    except zlib.error:
        return True
    return not unpacking.unconsumed_tail


def depth(content: bytes) -> int:
    """Return the bits of a sample, from the header that every PNG file begins with."""
    return content[24]


def transparency(content: bytes) -> bytes | tuple[int, ...] | None:
    """Return the content of the tRNS chunk (PNG, section 11.3.2.1); None if there is none.

    Bytes are the opacities of the palette's first colors. Integers are the gray value, or red,
    green and blue, that is transparent, at the depth of the file; upper bits do not count.
    """
    color = content[25]
    data = b""
    for chunk in chunks(content):
        if chunk.kind == b"tRNS":
            data = content[chunk.start : chunk.end]
        elif chunk.kind == b"IDAT":
            break
    if color == 3 and data:
        return data[:256]
    channels = {0: 1, 2: 3}.get(color)
    if channels is None or len(data) < 2 * channels:
        return None
    most = (1 << depth(content)) - 1
    return tuple(value & most for value in struct.unpack_from(f">{channels}H", data))

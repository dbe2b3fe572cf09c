"""Files of every kind of samples, written by hand after their specifications, and their pixels.

What a file means is computed here from its samples, and not by a decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SIDE = 24
Samples = npt.NDArray[np.uint16]


class Kind(NamedTuple):
    """A file, and its pixels: RGB, 8 bits, over white."""

    content: bytes
    pixels: npt.NDArray[np.uint8]


def random(channels: int, bits: int) -> Samples:
    """Samples with every value of up to 8 bits; of 16 bits, some that share their high byte."""
    shape = (SIDE, SIDE, channels)
    samples = np.random.Generator(np.random.Philox(key=bits)).integers(0, 1 << bits, shape)
    if bits == 16:
        samples[: SIDE // 2] = samples[0, 0] - samples[0, 0] % 256 + samples[: SIDE // 2] % 3
    return samples.astype(np.uint16)


def eight(samples: Samples, bits: int) -> npt.NDArray[np.uint8]:
    """Samples as 8 bits: the high byte, or 0 to 255 in equal steps."""
    wide = samples >> (bits - 8) if bits >= 8 else samples * (255 // ((1 << bits) - 1))
    return wide.astype(np.uint8)


def over_white(color: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> Any:
    share = alpha.astype(float) / 255
    return np.floor(color * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def as_rgb(color: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.broadcast_to(color, (*color.shape[:2], 3))


def packed(samples: Samples, bits: int, order: str = ">") -> bytes:
    """Rows of samples, each row filled up to a byte."""
    rows = samples.reshape(len(samples), -1)
    if bits >= 8 and bits != 12:
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    single = (rows[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    return np.packbits(single.reshape(len(rows), -1), axis=1).tobytes()


PALETTE = np.random.Generator(np.random.Philox(key=9)).integers(0, 256, (256, 3)).astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(
    samples: Samples,
    color: int,
    bits: int,
    extra: Sequence[tuple[bytes, bytes]] = (),
    adam: int = 0,
    *,
    after: bool = False,
) -> bytes:
    """A PNG with these samples; ``adam`` interlaces it, ``extra`` are chunks beside the pixels."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    passes = [*passes, (1, 0, 2, 1)] if adam else [(0, 0, 1, 1)]
    rows = b""
    for down, across, step_down, step_across in passes:
        for row in samples[down::step_down, across::step_across]:
            rows += b"\0" + packed(row[None], bits)
    height, width = samples.shape[:2]
    image = (b"IDAT", zlib.compress(rows))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, adam)),
        *([(b"PLTE", PALETTE[: 1 << bits].tobytes())] if color == 3 else []),
        *([image, *extra] if after else [*extra, image]),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _png(color: int, bits: int, *, key: bool = False, adam: int = 0) -> Kind:
    samples = random({0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color], bits)
    extra = []
    if color == 3:
        alphas = np.full(256, 255, np.uint8)
        if key:
            alphas[:2] = (100, 0)
            extra = [(b"tRNS", alphas[:2].tobytes())]
        found = over_white(PALETTE[samples[..., 0]], alphas[samples])
        return Kind(png_of(samples, color, bits, extra, adam), found)
    levels = eight(samples, bits)
    parts = 1 if color in (0, 4) else 3
    alpha = levels[..., parts:] if color in (4, 6) else np.full((SIDE, SIDE, 1), 255, np.uint8)
    if key:
        extra = [(b"tRNS", struct.pack(f">{parts}H", *map(int, samples[0, 0])))]
        alpha = (samples != samples[0, 0]).any(axis=2, keepdims=True).astype(np.uint8) * 255
    found = over_white(as_rgb(levels[..., :parts]), alpha)
    return Kind(png_of(samples, color, bits, extra, adam), found)


_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_COLORS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGBA"}

PNG: dict[str, Callable[[], Kind]] = {
    f"{name}, {bits} bits" + ", tRNS" * key + ", interlaced" * adam: partial(
        _png, color, bits, key=key, adam=adam
    )
    for color, name in _COLORS.items()
    for bits in _DEPTHS[color]
    for key in ((False, True) if color < 4 else (False,))
    for adam in (0, 1)
}


def tiff_of(
    data: bytes,
    bits: Sequence[int],
    photometric: int,
    order: str = "<",
    tags: Sequence[tuple[int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF of one uncompressed strip; ``tags`` are further tags with short integers."""
    entries: dict[int, Sequence[int]] = {
        256: [SIDE], 257: [SIDE], 258: bits, 259: [1], 262: [photometric], 273: [0],
        277: [len(bits)], 278: [SIDE], 279: [len(data)], **dict(tags),
    }  # fmt: skip
    place = 8 + 2 + 12 * len(entries) + 4
    arrays = b""
    table = b""
    for tag, values in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}H", *values)
        if tag == 273:
            table += struct.pack(f"{order}HHII", tag, 4, 1, 0xDEAD)  # replaced below
            continue
        if len(body) > 4:
            table += struct.pack(f"{order}HHII", tag, 3, len(values), place + len(arrays))
            arrays += body
        else:
            table += struct.pack(f"{order}HHI", tag, 3, len(values)) + body.ljust(4, b"\0")
    offset = struct.pack(f"{order}I", place + len(arrays))
    table = table.replace(struct.pack(f"{order}I", 0xDEAD), offset)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    count = struct.pack(f"{order}H", len(entries))
    return head + count + table + b"\0\0\0\0" + arrays + data


def _tiff_gray(bits: int, photometric: int, order: str) -> Kind:
    samples = random(1, bits)
    shown = samples if photometric else (1 << bits) - 1 - samples
    content = tiff_of(packed(samples, bits, order), [bits], photometric, order)
    return Kind(content, as_rgb(eight(shown, bits)))


def _tiff_color(
    channels: int, bits: int, order: str, extra: Sequence[int] | None, opacity: int | None
) -> Kind:
    """RGB (or gray) and further samples; the one at ``opacity`` is the alpha."""
    samples = random(channels, bits)
    parts = 1 if channels == 2 else 3
    tags = [] if extra is None else [(338, extra)]
    data = packed(samples, bits, order)
    content = tiff_of(data, [bits] * channels, 1 if parts == 1 else 2, order, tags)
    levels = eight(samples, bits)
    alpha = np.full((SIDE, SIDE, 1), 255, np.uint8) if opacity is None else levels[..., [opacity]]
    return Kind(content, over_white(as_rgb(levels[..., :parts]), alpha))


def _tiff_palette(bits: int) -> Kind:
    samples = random(1, bits)
    colors = PALETTE[: 1 << bits]
    table = [int(value) * 257 for value in colors.T.ravel()]
    content = tiff_of(packed(samples, bits), [bits], 3, "<", [(320, table)])
    return Kind(content, colors[samples[..., 0]])


TIFF: dict[str, Callable[[], Kind]] = {
    **{
        f"{'BlackIsZero' if photometric else 'WhiteIsZero'}, {bits} bits, {order}": partial(
            _tiff_gray, bits, photometric, order
        )
        for photometric in (0, 1)
        for bits in (1, 2, 4, 8, 16)
        for order in "<>"
        if (photometric, bits, order) != (0, 16, ">")  # not read by Pillow
    },
    "BlackIsZero, 12 bits": partial(_tiff_gray, 12, 1, "<"),
    **{
        f"{channels} samples of {bits} bits, ExtraSamples {extra}, {order}": partial(
            _tiff_color, channels, bits, order, extra, opacity
        )
        for channels, bits, extra, opacity in (
            (2, 8, [2], 1),
            (3, 8, None, None),
            (3, 16, None, None),
            (4, 8, None, None),
            (4, 8, [0], None),
            (4, 8, [2], 3),
            (4, 16, None, None),
            (4, 16, [0], None),
            (4, 16, [2], 3),
            (5, 8, [0, 0], None),
            (5, 8, [2, 0], 3),
            (6, 8, [0, 0, 0], None),
        )
        for order in "<>"
    },
    **{f"palette, {bits} bits": partial(_tiff_palette, bits) for bits in (1, 2, 4, 8)},
}


def bmp_of(rows: bytes, bits: int, masks: Sequence[int] = (), palette: bytes = b"") -> bytes:
    """A BMP with these rows, from the lowest up; ``masks`` of red, green, blue and alpha."""
    size = 40 if not masks else 108
    header = struct.pack(
        "<IiiHHIIiiII", size, SIDE, SIDE, 1, bits, 3 if masks else 0, len(rows), 0, 0, 0, 0
    )
    if masks:
        header += struct.pack("<4I", *masks) + b"\0" * (size - 56)
    place = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", place + len(rows), 0, 0, place) + header + palette + rows


def _bmp_palette(bits: int) -> Kind:
    samples = random(1, bits)
    stride = -(-SIDE * bits // 32) * 4
    rows = b"".join(packed(row[None], bits).ljust(stride, b"\0") for row in samples[::-1])
    colors = PALETTE[: 1 << bits]
    table = b"".join(bytes((*color[::-1], 0)) for color in colors.tolist())
    return Kind(bmp_of(rows, bits, palette=table), colors[samples[..., 0]])


def _bmp_16(widths: tuple[int, int, int]) -> Kind:
    parts = [random(1, bits)[..., 0] for bits in widths]
    shifts = (widths[1] + widths[2], widths[2], 0)
    words = sum(part.astype(np.uint16) << shift for part, shift in zip(parts, shifts, strict=True))
    masks = [((1 << bits) - 1) << shift for bits, shift in zip(widths, shifts, strict=True)]
    found = [part * 255 // ((1 << bits) - 1) for part, bits in zip(parts, widths, strict=True)]
    content = bmp_of(np.asarray(words)[::-1].astype("<u2").tobytes(), 16, [*masks, 0])
    return Kind(content, np.stack(found, axis=2).astype(np.uint8))


def _bmp_color(channels: int, *, opacity: bool = False) -> Kind:
    samples = random(channels, 8).astype(np.uint8)
    order = [2, 1, 0, 3][:channels]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if opacity else ()
    content = bmp_of(samples[::-1, :, order].tobytes(), 8 * channels, masks)
    alpha = samples[..., 3:] if opacity else np.full((SIDE, SIDE, 1), 255, np.uint8)
    return Kind(content, over_white(samples[..., :3], alpha))


BMP: dict[str, Callable[[], Kind]] = {
    **{f"palette, {bits} bits": partial(_bmp_palette, bits) for bits in (1, 4, 8)},
    "16 bits, 5 of each": partial(_bmp_16, (5, 5, 5)),
    "16 bits, 6 of green": partial(_bmp_16, (5, 6, 5)),
    "24 bits": partial(_bmp_color, 3),
    "32 bits": partial(_bmp_color, 4),
    "32 bits with alpha": partial(_bmp_color, 4, opacity=True),
}

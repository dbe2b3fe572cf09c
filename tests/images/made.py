"""Images for tests: good ones of every kind, and poison."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from headstart.images import resize

#: As for a model without ``gray16_bits``.
pixels = partial(resize.pixels, gray16_bits=None)


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A smooth random color image, which JPEG keeps well."""
    small = np.random.Generator(np.random.Philox(key=seed)).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width: int = 40, height: int = 30, seed: int = 0, **options: Any) -> bytes:
    return encoded(noise(width, height, seed), "JPEG", **{"quality": 95, **options})


def png(width: int = 40, height: int = 30, seed: int = 0) -> bytes:
    return encoded(noise(width, height, seed), "PNG")


def turned(value: int, kind: str = "JPEG") -> bytes:
    """An image whose record asks for a turn."""
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(noise(), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def png_header(width: int, height: int) -> bytes:
    """A valid PNG header that promises pixels which are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def gif_header(width: int, height: int) -> bytes:
    """A GIF of a few bytes whose screen would fill memory."""
    small = encoded(Image.new("P", (4, 4)), "GIF")
    return small[:6] + struct.pack("<HH", width, height) + small[10:]


def gray16(values: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    return encoded(Image.fromarray(values), "PNG")


def animation(kind: str) -> bytes:
    """Two frames: red, then blue."""
    red, blue = (Image.new("RGB", (20, 12), color) for color in ("#ff0000", "#0000ff"))
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return encoded(red, kind, save_all=True, append_images=[blue], duration=50, **options)

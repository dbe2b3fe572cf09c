"""The table of image formats: to accept another one, add a row and its tests.

Every list of formats derives from :data:`FORMATS`: the names that params.yaml takes, Pillow's
decoders, detection by content, file extensions, the options of the commands, and what an exported
model says of the formats that TensorFlow cannot decode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Pillow takes an image with more pixels for a decompression bomb, and does not open it.
MOST_PIXELS = 89_478_485


@dataclass(frozen=True)
class ImageFormat:
    """A row of the table.

    Parameters
    ----------
    title : str
        The usual spelling; in upper case it is the name of Pillow's decoder.
    extensions : tuple of str
        Of file names, in lower case; stored images get the first.
    magic : pattern of bytes
        Matches the first bytes of every such file, and of no other format.
    ends_early : callable
        Returns whether a file that cannot be decoded lacks its end, by the container alone.
    accepted : bool
        True if it is accepted by default.
    in_tensorflow : bool
        True if every version of TensorFlow decodes it, and so does an exported model that takes
        encoded images.
    """

    title: str
    extensions: tuple[str, ...]
    magic: re.Pattern[bytes]
    ends_early: Callable[[bytes], bool] = lambda _: False
    accepted: bool = True
    in_tensorflow: bool = True

    @property
    def name(self) -> str:
        """The name in params.yaml and in the manifest."""
        return self.title.lower()

    @property
    def decoder(self) -> str:
        """Pillow's name."""
        return self.title.upper()


def _magic(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


def _boxes_end_early(content: bytes) -> bool:
    """Return whether a box of an ISO base media file (ISO/IEC 14496-12) reaches beyond its end."""
    place = 0
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        if size == 1:
            size = int.from_bytes(content[place + 8 : place + 16], "big")
        if size < 8:  # 0: the last box, up to the end; other values are damage
            return False
        place += size
    return place != len(content)


_ROWS = (
    ImageFormat(
        "JPEG",
        ("jpg", "jpeg", "jpe", "jfif"),
        _magic(rb"\xff\xd8\xff"),
        lambda content: b"\xff\xd9" not in content[2:],
    ),
    ImageFormat(
        "PNG",
        ("png",),
        _magic(rb"\x89PNG\r\n\x1a\n"),
        lambda content: b"IEND" not in content[-64:],
    ),
    ImageFormat(
        "WebP",
        ("webp",),
        _magic(rb"RIFF.{4}WEBP"),
        lambda content: int.from_bytes(content[4:8], "little") + 8 > len(content),
        in_tensorflow=False,
    ),
    ImageFormat(
        "GIF",
        ("gif",),
        _magic(rb"GIF8[79]a"),
        lambda content: b"\x3b" not in content[-8:],
    ),
    ImageFormat(
        "BMP",
        ("bmp", "dib"),
        _magic(rb"BM"),
        lambda content: int.from_bytes(content[2:6], "little") > len(content),
    ),
    ImageFormat(
        "TIFF",
        ("tif", "tiff"),
        _magic(rb"II\*\x00|MM\x00\*"),
        accepted=False,
        in_tensorflow=False,
    ),
    ImageFormat(
        "AVIF",
        ("avif",),
        # The brand of the file, or one that a file of a general kind says it is compatible with.
        _magic(rb".{4}ftyp(?:avi[fs]|m(?:if|sf)1.{4}(?:.{4}){0,15}?avi[fs])"),
        _boxes_end_early,
        in_tensorflow=False,
    ),
)

#: Name to row, in the order in which lists show them.
FORMATS: Mapping[str, ImageFormat] = {row.name: row for row in _ROWS}

#: Name to the extension of stored images.
EXTENSIONS: Mapping[str, str] = {name: row.extensions[0] for name, row in FORMATS.items()}

#: The formats that are accepted without being named.
ACCEPTED: tuple[str, ...] = tuple(name for name, row in FORMATS.items() if row.accepted)

_HEIC_BRANDS = rb"he(?:i[cxms]|v[cxms])"

# Known, so that the reason for a rejection is true, and never decoded: how the files begin, and
# what to do.
_REFUSED: Mapping[str, tuple[re.Pattern[bytes], str]] = {
    "bigtiff": (_magic(rb"II\+\x00|MM\x00\+"), "save it as TIFF (not BigTIFF) or PNG"),
    "eps": (_magic(rb"%!PS|\xc5\xd0\xd3\xc6"), "export it as PNG"),
    "pdf": (_magic(rb"%PDF"), "export its pages as PNG"),
    "psd": (_magic(rb"8BPS"), "export it as PNG"),
    "ico": (_magic(rb"\x00\x00\x01\x00"), "save it as PNG"),
    "jpeg2000": (_magic(rb"\x00{3}\x0cjP  |\xff\x4f\xff\x51"), "convert it to PNG"),
    "jpeg-xl": (_magic(rb"\xff\x0a|\x00{3}\x0cJXL "), "convert it to PNG"),
    "heic": (
        # The brand of the file, or one that a file of a general kind says it is compatible with.
        _magic(
            rb".{4}ftyp(?:"
            + _HEIC_BRANDS
            + rb"|m(?:if|sf)1.{4}(?:.{4}){0,15}?"
            + _HEIC_BRANDS
            + rb")"
        ),
        'convert it to PNG or JPEG, as docs/your-images.md shows under "HEIC photos"',
    ),
    "heif": (_magic(rb".{4}ftypm(?:if|sf)1"), "convert it to PNG or JPEG"),
}
_MAGIC = {
    **{name: row.magic for name, row in FORMATS.items()},
    **{name: magic for name, (magic, _) in _REFUSED.items()},
}


def detect(content: bytes) -> str | None:
    """Return the name of the format that some bytes begin like; None if there is none.

    Besides those of :data:`FORMATS`, the names of formats that are never decoded.
    """
    return next((name for name, magic in _MAGIC.items() if magic.match(content)), None)


def cure(name: str) -> str:
    """Return the remedy for an image of a known format that is not accepted."""
    if name in FORMATS:
        return f"to accept it, add {name} to `download.formats` (commands: `--accept {name}`)"
    return _REFUSED[name][1]

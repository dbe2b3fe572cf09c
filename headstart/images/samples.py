"""Samples as a file's format defines them, where Pillow reads them otherwise.

==============================  ============================  =====================================
file                            Pillow                        here, as the format says
==============================  ============================  =====================================
PNG, tRNS, gray of 2 or 4 bits  compares scaled samples       the value is scaled, too
PNG, tRNS, gray of 16 bits      ignores it                    transparent
PNG, tRNS, RGB of 16 bits       compares the high bytes       all 16 bits are compared
TIFF, 16 bits, WhiteIsZero      inverted                      0 is white
TIFF, 12 bits                   0 to 4095 in 16 bits          scaled to 16 bits
TIFF, RGB and a fourth band     opacity, if nothing is said   opacity only if the file says so
==============================  ============================  =====================================
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from headstart.images import png

# Tags of TIFF 6.0.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _COUNT = 256, 257, 258, 259, 262, 277
_EXTRA, _FORMAT = 338, 339
_WHITE_IS_ZERO, _YCBCR = 0, 6
_OPACITIES = {1, 2}  # values of ExtraSamples: associated and unassociated


#: Nothing of a 16-bit image that needs no more bits is brighter than a sixteenth.
DARK_BITS = 12
#: The bits of a sample that a network gets, so `gray16_bits` is not less.
SHOWN_BITS = 8
_WHITE16 = 65535
_STRIP = 1 << 20  # samples; counting takes eight bytes for each
_MOST_PAGES = 10_000  # counted; nobody needs to know of how many more there are


@dataclass(frozen=True, slots=True)
class Traits:
    """Facts about an accepted image that may need a remark.

    Attributes
    ----------
    bits : int or None
        Bits that the largest sample of a 16-bit image needs; None for other images.
    unused_bands : int
        Samples per pixel of a TIFF file beyond color and opacity.
    unused_pages : int
        Pages of a TIFF file after the first.
    """

    bits: int | None = None
    unused_bands: int = 0
    unused_pages: int = 0


#: Nothing that needs a remark; shared by nearly all images.
NO_TRAITS = Traits()


def traits(image: Image.Image, content: bytes, name: str) -> Traits:
    """Return the facts about a loaded image that may need a remark."""
    if name == "png" and png.depth(content) == 16:
        return Traits(_bits(image))
    if name != "tiff":
        return NO_TRAITS
    tags = _tags(image)
    bits = _bits(image) if set(_values(tags, _BITS)) == {16} else None
    used = len(image.getbands()) - (image.mode == "RGBA" and not _states_opacity(image))
    count = tags.get(_COUNT, 1)
    unused = count - used if isinstance(count, int) else 0
    return Traits(bits, max(unused, 0), _pages(content) - 1)


def _bits(image: Image.Image) -> int:
    """Return the bits that the largest sample of a 16-bit image needs."""
    if image.mode.startswith("I;16"):
        return int(np.asarray(image).max()).bit_length()
    # Of other modes Pillow has kept the high bytes: the low ones need no more than 8 bits.
    return 8 + int(np.asarray(image.convert("RGB")).max()).bit_length()


def _pages(content: bytes) -> int:
    """Return how many pages a TIFF file has, without reading them."""
    order = "<" if content[:2] == b"II" else ">"
    seen: set[int] = set()
    try:
        (place,) = struct.unpack_from(f"{order}I", content, 4)
        while place and place not in seen and len(seen) < _MOST_PAGES:
            (entries,) = struct.unpack_from(f"{order}H", content, place)
            seen.add(place)
            (place,) = struct.unpack_from(f"{order}I", content, place + 2 + 12 * entries)
    except struct.error:  # the file ends early, after the pages that were seen
        pass
    return max(len(seen), 1)


def undefined(image: Image.Image) -> str:
    """Return the reason that a TIFF file's samples have no defined value; "" if they have."""
    tags = _tags(image)
    if set(_values(tags, _FORMAT)) - {1} and image.mode == "L":
        return "signed samples have no defined conversion to 8-bit RGB"
    if tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION, 1) == 1 and image.mode == "RGB":
        return "uncompressed YCbCr is not read; save it as RGB"
    return ""


def unread(content: bytes) -> str:
    """Return the samples of a TIFF file that Pillow does not open; "" if the header is damaged."""
    stream = io.BytesIO(content)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        stated = [int(tags[tag]) for tag in (_WIDTH, _HEIGHT, _PHOTOMETRIC)]
        bits = [int(value) for value in _values(tags, _BITS)]
        count = int(tags.get(_COUNT, len(bits)))
    except Exception:  # noqa: BLE001 - untrusted content can raise anything
        return ""
    kind = {1: "unsigned", 2: "signed", 3: "float"}.get(min(_values(tags, _FORMAT), default=1))
    return (
        f"a TIFF with {count} {'sample' if count == 1 else 'samples'} of {max(bits, default=1)} "
        f"bits per pixel, {kind or 'of an unknown kind'}, PhotometricInterpretation {stated[2]}, "
        "is not read; save it as gray or RGB of 8 or 16 bits"
    )


def complete(image: Image.Image, content: bytes, name: str) -> None:
    """Correct the transparency of a loaded image where Pillow does not follow the format."""
    if name == "png":
        _complete_png(image, content)
    elif name == "tiff" and image.mode == "RGBA" and not _states_opacity(image):
        image.putalpha(255)


def _states_opacity(image: Image.Image) -> bool:
    return bool(_OPACITIES & set(_values(_tags(image), _EXTRA)))


def _complete_png(image: Image.Image, content: bytes) -> None:
    image.info.pop("transparency", None)
    stated = png.transparency(content)
    bits = png.depth(content)
    if stated is None:
        return
    if isinstance(stated, bytes):
        image.info["transparency"] = stated
    elif len(stated) == 1:
        scale = 255 // ((1 << bits) - 1) if bits < 8 else 1
        image.info["transparency"] = stated[0] * scale
    elif bits == 8:
        image.info["transparency"] = stated
    else:
        samples = np.asarray(image).astype(np.uint16) << 8 | _low_bytes(content)
        opaque = (samples != np.array(stated, np.uint16)).any(axis=2)
        image.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))


def _low_bytes(content: bytes) -> npt.NDArray[np.uint8]:
    """Return the low bytes of the samples of a 16-bit RGB PNG, of which Pillow keeps the high ones.

    Read with the other order of bytes, the low one is the one that Pillow keeps.
    """
    with Image.open(io.BytesIO(png.readable(content)), formats=("PNG",)) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.array(image)


def gray16(image: Image.Image, bits: int | None) -> npt.NDArray[np.uint16]:
    """Return the samples of a loaded 16-bit gray image: 0 is black, 65535 is white.

    Parameters
    ----------
    image : Image
    bits : int or None
        Its samples have this many bits, and larger ones are cut; None: 16. Files that state
        12 bits themselves are read so in any case.
    """
    stored = np.asarray(image).astype(np.uint16)
    tags = _tags(image)
    used = 12 if _values(tags, _BITS) == (12,) else bits or 16
    samples = np.minimum(stored, np.uint16((1 << used) - 1)) << np.uint16(16 - used)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        samples = ~samples
    stated = image.info.get("transparency")
    return samples if stated is None else np.where(stored == stated, _WHITE16, samples)


def stretched16(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a loaded 16-bit gray image with its range spread over 8 bits.

    The darkest and the brightest of 1,000 samples are left out, as far as the rest has a range: one
    defective pixel must not decide. White itself, and so what is transparent, stays white.
    """
    samples = gray16(image, None)
    counts = np.zeros(_WHITE16 + 1, np.int64)
    rows = max(1, _STRIP // samples.shape[1])
    for top in range(0, len(samples), rows):
        counts += np.bincount(samples[top : top + rows].ravel(), minlength=_WHITE16 + 1)
    upto = np.cumsum(counts[:_WHITE16])
    levels, total = np.arange(_WHITE16 + 1), int(upto[-1])

    def range_without(aside: int) -> tuple[int, int]:
        found = np.searchsorted(upto, (aside, total - 1 - aside), side="right")
        return int(found[0]), int(found[1])

    low, high = range_without(total // 1000)
    if low == high:
        low, high = range_without(0)
    spread = (np.clip(levels, low, high) - low) * 255 // max(high - low, 1)
    spread[_WHITE16] = 255
    return spread.astype(np.uint8)[samples]


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _values(tags: Any, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)

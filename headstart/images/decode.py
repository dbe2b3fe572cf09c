"""Decide once, by decoding all of it under limits, whether a file is a usable image.

The format follows from the first bytes, never from the file's name, and only that one decoder of
Pillow gets the content. Reasons of an :class:`ImageError`:

=================  ===============================================================================
``empty``          no bytes
``not_an_image``   the first bytes are not those of an image format
``refused_format`` a format, or a kind of pixels, that is not accepted
``truncated``      the content ends too early
``corrupt``        the decoder gave up
``too_small``      shorter side below ``min_side``
``too_large``      more bytes or pixels than accepted; known from the header, before decoding
=================  ===============================================================================

A JPEG whose middle was overwritten may decode without complaint: the format has no checksum.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from headstart._utils.errors import ImageError
from headstart.images.formats import EXTENSIONS, FORMATS, MOST_PIXELS, cure, detect
from headstart.images.png import chunks, readable
from headstart.images.samples import Traits, complete, traits, undefined, unread

#: Kinds of pixels with a defined way to 8-bit RGB (see :mod:`headstart.images.resize`). 32-bit
#: integers and floats have no known range, so they would have to be guessed.
MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr",
     "I;16", "I;16L", "I;16B", "I;16N"}
)  # fmt: skip

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BIG = 16_000_000  # pixels; bigger images are decoded two at a time, however many threads ask
_BEYOND = f"it has more than {MOST_PIXELS:,} pixels; Pillow opens nothing larger"
_BIG_SLOTS = threading.BoundedSemaphore(2)

# Our reasons cover what Pillow logs about odd files; without a handler it goes to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Limits:
    """Limits of what is accepted as an image.

    Parameters
    ----------
    formats : sequence of str
        Names of :data:`headstart.images.formats.FORMATS`.
    min_side : int
        Pixels of the shorter side.
    max_pixels : int
        Width times height; Pillow's own bound (89 million) holds, too.
    max_bytes : int
        Bytes of the file.
    """

    formats: Sequence[str] = tuple(FORMATS)
    min_side: int = 1
    max_pixels: int = 50_000_000
    max_bytes: int = 50_000_000


#: For images that the stage download has inspected; Pillow's own bound on pixels remains.
INSPECTED = Limits(max_bytes=1 << 31, max_pixels=1 << 62)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A usable image: its size after orientation, its format in params.yaml, its extension."""

    width: int
    height: int
    format: str
    ext: str
    traits: Traits


def inspect(content: bytes, limits: Limits) -> ImageInfo:
    """Decode all of an image and describe it.

    Raises
    ------
    ImageError
        With one of the reasons above.
    """
    name = sniff(content, limits)
    with opened(content, name, limits) as image, big_slot(image):
        load(image, content, name)
        known = traits(image, content, name)
        width, height = image.size
        if orientation(image) >= 5:
            width, height = height, width
    return ImageInfo(width, height, name, EXTENSIONS[name], known)


def sniff(content: bytes, limits: Limits) -> str:
    """Return the format by the first bytes; refuse empty, too long and unaccepted content."""
    if not content:
        raise ImageError("empty", "the file has no bytes")
    if len(content) > limits.max_bytes:
        raise ImageError(
            "too_large", f"{len(content):,} bytes; at most {limits.max_bytes:,} are accepted"
        )
    name = detect(content)
    if name is None:
        raise ImageError(
            "not_an_image", f"it begins with {content[:12]!r}, unlike any image format"
        )
    if name not in limits.formats:
        raise ImageError(
            "refused_format",
            f"{name} is not among the accepted formats {', '.join(limits.formats)}; {cure(name)}",
        )
    return name


@contextmanager
def opened(content: bytes, name: str, limits: Limits) -> Iterator[Image.Image]:
    """Yield the image with its header read and checked, and no pixel decoded yet."""
    with quiet():
        with _faults(content, name):
            stream = io.BytesIO(readable(content) if name == "png" else content)
            image = Image.open(stream, formats=(FORMATS[name].decoder,))
        with image:
            _check_header(image, limits)
            yield image


def load(image: Image.Image, content: bytes, name: str) -> None:
    """Decode every pixel of the first frame, since ``verify`` accepts a truncated JPEG.

    Raises
    ------
    ImageError
        ``truncated`` or ``corrupt``, or ``too_large`` if memory does not suffice.
    """
    with _faults(content, name):
        image.load()
        if image.mode in {"P", "PA"} and image.palette is None:
            raise ValueError("its colors are numbers of a palette that it lacks")
        complete(image, content, name)
    if name == "png" and _lacks_its_end(content):  # Pillow stops at the last pixel.
        raise _truncated(content, name)


@contextmanager
def _faults(content: bytes, name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too_large", _BEYOND) from error
    except MemoryError as error:
        raise ImageError("too_large", "there is not enough memory to decode it") from error
    except Exception as error:  # untrusted content can raise anything
        raise _broken(content, name, error) from error


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded image, 1 to 8; 1 if it is absent or damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged record says nothing; the pixels are still good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image.Image, record: Image.Image | None = None) -> Image.Image:
    """Return ``image`` turned as the EXIF data of ``record`` (default: its own) says."""
    turn = _TURNS.get(orientation(image if record is None else record))
    return image if turn is None else image.transpose(turn)


def big_slot(image: Image.Image) -> threading.BoundedSemaphore | nullcontext[None]:
    """Return a slot to decode in: memory must not grow with cores times the biggest image."""
    return _BIG_SLOTS if image.size[0] * image.size[1] > _BIG else nullcontext()


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: warnings.catch_warnings | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Turn Pillow's bomb warnings into errors and silence its others, in all threads.

    ``catch_warnings`` alone is not safe in threads: the first one in saves the filters and the
    last one out restores them, so blocks that overlap must be counted.
    """
    global _quiet_depth, _quiet_filters  # noqa: PLW0603 - the filters themselves are global
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|headstart\.images\.")
            warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
                _quiet_filters = None


def _check_header(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(
            "too_large",
            f"{width} × {height} pixels; at most {limits.max_pixels:,} are accepted",
        )
    if min(width, height) < limits.min_side:
        raise ImageError(
            "too_small", f"{width} × {height} pixels; the shorter side must have {limits.min_side}"
        )
    if image.mode not in MODES:
        raise ImageError(
            "refused_format", f"pixels of mode {image.mode} have no defined conversion to 8-bit RGB"
        )
    if why := undefined(image):
        raise ImageError("refused_format", why)


def _broken(content: bytes, name: str, error: Exception) -> ImageError:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        if name == "tiff" and (samples := unread(content)):
            return ImageError("refused_format", samples)
        text = f"the {name} header cannot be read"  # Pillow's text holds a memory address
    stated = isinstance(error, EOFError) or "truncated" in text.lower()
    if stated or FORMATS[name].ends_early(content):
        return _truncated(content, name)
    return ImageError("corrupt", text)


def _truncated(content: bytes, name: str) -> ImageError:
    return ImageError("truncated", f"the {name} ends too early, after {len(content):,} bytes")


def _lacks_its_end(content: bytes) -> bool:
    """Return whether a PNG has no complete IEND chunk: other decoders then refuse the file."""
    return all(chunk.kind != b"IEND" for chunk in chunks(content))

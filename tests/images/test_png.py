from __future__ import annotations

import hashlib
import io
import time
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits, inspect
from headstart.images.png import canonical_png, readable
from tests.images import kinds
from tests.images.made import pixels as pixels_of

SIDES = st.integers(1, 40)
SHAPES = st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.sampled_from([1, 3, 4]))


@given(arrays(np.uint8, SHAPES))
def test_the_encoder_is_exact(pixels: npt.NDArray[np.uint8]) -> None:
    content = canonical_png(pixels)
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(
            np.asarray(image), pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels
        )
    assert inspect(content, Limits()).format == "png"


def test_more_than_one_block() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    content = canonical_png(pixels)
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), pixels)
    # The bytes are fixed for good: the image's id rests on them.
    assert len(content) == 8 + 25 + 12 + 12 + 2 + 3 * 5 + 300 * 601 + 4
    assert hashlib.sha256(content).hexdigest() == (
        "581ad6e707f648fc81546d428b24d2b2e7a7ce39a1f225ad77d87fbf1e093612"
    )
    data = content[content.index(b"IDAT") + 4 : content.index(b"IEND") - 8]
    assert len(zlib.decompress(data)) == 300 * 601


#: One entry: orientation, a short integer, 6.
_TIFF_WITH_A_TURN = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
LONG = b"x" * (2 << 20)
XMP = b"XML:com.adobe.xmp\0"
TURN = b'<x:xmpmeta tiff:Orientation="6"/>'
CHUNKS = {
    "packed text": [(b"zTXt", b"key\0\0" + zlib.compress(LONG))],
    "text": [(b"tEXt", b"key\0" + LONG)],
    "packed international text": [(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LONG))],
    "international text": [(b"iTXt", b"key\0\0\0\0\0" + LONG)],
    "profile": [(b"iCCP", b"name\0\0" + zlib.compress(LONG))],
    "many texts": [(b"zTXt", b"key%d\0\0" % n + zlib.compress(LONG[: 1 << 20])) for n in range(70)],
    "long XMP": [(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(TURN + LONG))],
    "many XMPs": [(b"iTXt", XMP + b"\0\0\0\0" + LONG[: 1 << 19])] * 70,
    "long EXIF": [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(LONG))],
    "text without a key": [(b"tEXt", b""), (b"zTXt", b""), (b"iTXt", b"\0"), (b"iCCP", b"\0\1")],
    "text of an unknown method": [(b"zTXt", b"key\0\7text"), (b"iCCP", b"name\0\7profile")],
    "damaged text": [(b"zTXt", b"key\0\0text"), (b"iTXt", XMP + b"\1\0\0\0text")],
}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", CHUNKS)
def test_text_and_profiles_are_no_reason_to_reject_a_png(name: str, after: bool) -> None:
    samples = kinds.random(3, 8)
    content = kinds.png_of(samples, 2, 8, CHUNKS[name], after=after)
    info = inspect(content, Limits())
    assert (info.width, info.height) == (kinds.SIDE, kinds.SIDE)
    assert np.array_equal(pixels_of(content, kinds.SIDE), samples)


@pytest.mark.parametrize(
    "turn",
    [
        (b"iTXt", XMP + b"\0\0\0\0" + TURN),
        (b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(TURN)),
        (
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n34\n" + _TIFF_WITH_A_TURN.hex().encode()),
        ),
    ],
)
def test_the_orientation_may_stand_in_a_text(turn: tuple[bytes, bytes]) -> None:
    samples = kinds.random(3, 8)
    content = kinds.png_of(samples, 2, 8, [*CHUNKS["packed text"], turn, *CHUNKS["profile"]])
    assert np.array_equal(pixels_of(content, kinds.SIDE), np.rot90(samples, -1))


def test_a_png_without_text_is_not_copied_and_one_of_many_chunks_takes_no_time() -> None:
    samples = kinds.random(1, 8)
    plain = kinds.png_of(samples, 0, 8)
    assert readable(plain) is plain
    many = kinds.png_of(samples, 0, 8, [(b"tEXt", b"")] * 100_000)
    start = time.monotonic()
    assert readable(many) == plain
    assert time.monotonic() - start < 5
    assert readable(many[:-4]) == plain[:-4]


def test_more_chunks_than_any_encoder_writes_are_refused() -> None:
    many = kinds.png_of(kinds.random(1, 8), 0, 8, [(b"tEXt", b"")] * 200_001)
    start = time.monotonic()
    with pytest.raises(ImageError, match="corrupt: it has more than 200,000 chunks"):
        inspect(many, Limits())
    assert time.monotonic() - start < 5

from __future__ import annotations

import hashlib
import io
import zlib

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from headstart.images.decode import Limits, inspect
from headstart.images.png import canonical_png

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

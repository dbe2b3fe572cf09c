from __future__ import annotations

import hashlib
import io
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.datasets import load_digits

from stages.sources.embedded import EmbeddedSource, gray_png, to_gray


def test_the_digits() -> None:
    source = EmbeddedSource()
    paths = [entry.path for entry in source.entries]
    assert paths == sorted(paths)
    assert len(paths) == 1797
    digits = load_digits()
    assert Counter(path.split("/")[1] for path in paths) == Counter(map(str, digits.target))
    contents = dict(source.contents(set(paths)))
    for number in (0, 1, 1796):
        content = contents[f"digits/{digits.target[number]}/{number:04}.png"]
        assert isinstance(content, bytes)
        with Image.open(io.BytesIO(content)) as image:
            assert image.mode == "L"
            exact = np.floor(digits.images[number] * 255 / 16 + 0.5)
            assert np.array_equal(np.asarray(image), exact)


def test_the_same_bytes_on_every_machine() -> None:
    digest = hashlib.sha256()
    source = EmbeddedSource()
    for path, content in source.contents({entry.path for entry in source.entries}):
        assert isinstance(content, bytes)
        digest.update(path.encode() + b"\0" + content)
    assert digest.hexdigest() == (
        "a594302e4644bcf65d5fe8c664189db863f4e6f05eec3802b9f01a8ea3f88923"
    )


def test_levels() -> None:
    assert list(to_gray(np.array([0.0, 8.0, 16.0]))) == [0, 128, 255]


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_the_encoder_is_exact(pixels: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    with Image.open(io.BytesIO(gray_png(pixels))) as image:
        assert np.array_equal(np.asarray(image), pixels)

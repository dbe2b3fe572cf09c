from __future__ import annotations

import hashlib
import io
from collections import Counter

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from headstart.sources.embedded import EmbeddedSource, to_gray


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

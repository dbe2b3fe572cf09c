"""What images are compared by: gray images of 16 bits show their detail, whatever bits they use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.audit import thumbnails
from headstart.audit.duplicates import find_pairs
from headstart.audit.thumbnails import small
from headstart.features.forward_passes import Image as Stored
from headstart.images.resize import pixels
from tests.audit.made import photograph
from tests.images import made as make

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same": lambda image: image.resize((image.width // 2, image.height // 2)),
    "cropped": lambda image: image.crop((0, 12, image.width - 20, image.height)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def deep(image: Image.Image, bits: int) -> bytes:
    """A camera of so many bits that uses the lower quarter of them, in 16."""
    values = np.asarray(image.convert("L")).astype(np.uint32) * (2**bits - 1) // 255 // 4
    return make.encoded(Image.fromarray(values.astype(np.uint16)), "PNG")


def stored(contents: list[bytes]) -> list[Stored]:
    return [
        Stored(hashlib.sha256(content).hexdigest(), str(number), partial(bytes, content))
        for number, content in enumerate(contents)
    ]


@pytest.mark.parametrize(
    ("kind", "bits"), [("same", 8), ("same", 16), *((kind, 12) for kind in CHANGES)]
)
def test_copies_are_found_in_the_bits_that_are_used(kind: str, bits: int) -> None:
    photographs = [photograph(seed) for seed in range(8)]
    images = [*(deep(each, bits) for each in photographs), deep(CHANGES[kind](photographs[3]), 14)]
    if bits == 8:  # without the stretch, nothing is there to compare
        assert pixels(images[3], 64, gray16_bits=None).max() == 0
    found = find_pairs(small(stored(images)), 0.9)
    assert list(zip(found.first, found.second, strict=True)) == [(3, 8)]
    assert found.kind == [kind]


def test_a_thumbnail_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = thumbnails._decoded

    def counting(image: Stored) -> Any:
        made.append(image.name)
        return original(image)

    monkeypatch.setattr(thumbnails, "_decoded", counting)
    images = stored([make.png(40, 50, seed=seed) for seed in range(6)])
    first = small(images[:5])
    assert sorted(made) == ["0", "1", "2", "3", "4"]
    second = small([*images[::-1], images[0]])
    assert made[5:] == ["5"]
    for name in ("gray", "color", "saturation"):
        assert np.array_equal(getattr(second, name)[-2:0:-1], getattr(first, name))
    monkeypatch.setenv("HEADSTART_VERIFY", "1")
    small(images)
    assert len(made) == 12

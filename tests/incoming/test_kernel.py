"""The kernel two-sample test of new images."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.audit.vectors import whole_numbers
from headstart.incoming.kernel import DRAWS, kernel_p

WIDTH, CLASSES = 24, 4


def images(count: int, seed: int, unknown: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of clouds, the last of them around two places of their own."""
    random = np.random.Generator(np.random.Philox(key=seed))
    labels = np.arange(count) % CLASSES
    places = 6 * np.eye(WIDTH)
    centers = places[labels]
    # Two classes on opposite sides of the known ones: their mean is that of the others.
    for row in range(unknown):
        side = 1 if row % 2 else -1
        centers[count - 1 - row] = places[:CLASSES].mean(axis=0) + side * places[CLASSES]
    return (centers + random.normal(size=(count, WIDTH))).astype(np.float32), labels


def p_of(unknown: int, seed: int = 7) -> float:
    training, labels = images(400, 1)
    known, new = images(300, seed)[0], images(100, seed + 1, unknown)[0]
    parts = np.split(whole_numbers([training, known, new], 1), [400, 700])
    return kernel_p(parts[0], labels, parts[1], parts[2], 42)


def test_unknown_classes_that_move_no_mean_are_noticed() -> None:
    assert p_of(20) == pytest.approx(1 / (1 + DRAWS))


def test_images_of_the_known_classes_are_alike() -> None:
    found = [p_of(0, seed) for seed in range(10, 30, 2)]
    assert min(found) > 0.005
    assert 0.2 < np.mean(found) < 0.8


def test_the_same_images_give_the_same_p() -> None:
    assert p_of(4) == p_of(4)

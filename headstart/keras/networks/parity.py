"""Is a converted network the same function as the Keras model? Asked on real images."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: Largest difference that is accepted, in standard deviations of the feature.
TOLERANCE = 1e-4
#: The same where a feature is one place of the map: averaging takes most of the rounding out.
UNPOOLED_TOLERANCE = 5e-4


def accepted(pooling: str) -> float:
    """Largest difference that is accepted with ``avg``, ``max`` or ``none``."""
    return TOLERANCE if pooling == "avg" else UNPOOLED_TOLERANCE


# Squares of the two photographs that scikit-learn installs (640 × 427): left, top, side in pixels.
# The whole height, the quarters, and details: smooth and busy, dark and bright.
_SQUARES = (
    (0, 0, 427),
    (213, 0, 427),
    (0, 0, 256),
    (384, 0, 256),
    (0, 171, 256),
    (384, 171, 256),
    (256, 128, 160),
    (420, 220, 96),
)


def images(size: int) -> np.ndarray:
    """Sixteen real images that need no data set: crops of two photographs.

    Parameters
    ----------
    size : int
        Side in pixels.

    Returns
    -------
    ndarray of shape (16, size, size, 3), uint8
    """
    spec = find_spec("sklearn")  # Found, not imported: it takes a second.
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("scikit-learn is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    found = []
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(folder / name, formats=["JPEG"]) as image:
            for left, top, side in _SQUARES:
                box = (left, top, left + side, top + side)
                square = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
                found.append(np.asarray(square, dtype=np.uint8))
    return np.stack(found)


def run_keras(model: Any, batch: np.ndarray, at_once: int = 4) -> np.ndarray:
    """Output of a Keras model for inference, a few images at once to spare memory."""
    parts = [
        np.asarray(model(batch[start : start + at_once], training=False))
        for start in range(0, len(batch), at_once)
    ]
    return np.concatenate(parts)


def difference_in_std(expected: np.ndarray, got: np.ndarray) -> float:
    """Largest difference between two networks' features, in deviations of each feature.

    Parameters
    ----------
    expected, got : ndarray of shape (images, ...), float32

    Returns
    -------
    float
        Infinite if anything is not a finite number. A feature that varies less than the average
        one counts with the average deviation (and with a hundredth of the features' size, should
        they hardly vary at all): a rare feature's last bits are no difference.
    """
    if expected.shape != got.shape or not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return float("inf")
    exact = expected.astype(np.float64)
    deviation = exact.std(axis=0)
    floor = max(deviation.mean(), 0.01 * np.abs(exact).mean()) or 1.0
    deviation = np.maximum(deviation, floor)
    return float((np.abs(got - exact) / deviation).max(initial=0.0))


def compare(model: Any, function: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> float:
    """:func:`difference_in_std` of a function from a Keras model on the same batch."""
    return difference_in_std(run_keras(model, batch), function(batch))

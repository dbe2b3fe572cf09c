"""Features as whole numbers, whose sums of products are exact and so the same on every CPU.

Every feature is brought to mean 0 and variance 1 and rounded to 1/512. A product of two such
numbers has at most 28 bits, so that float64 sums 30 million of them without rounding, in any order.
Feature maps are averaged over their positions, and features beyond :data:`WIDTH` are folded: added
to or subtracted from an earlier one, by a fixed draw of signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headstart.features.array_rows import empty

WIDTH = 1280
#: Of the numbers: one standard deviation.
SCALE = 512.0
_LARGEST = 2**14 - 1  # 32 standard deviations
#: Rows at a time. Fixed, because sums of unrounded features depend on it.
ROWS = 2048
#: Rows whose products with all references are held at once.
_PRODUCT_ROWS = 512
#: Largest norm of a direction: a product of two has at most 24 bits, as float32 holds.
_NORM = 4096.0
#: No product of two directions is larger.
LARGEST_PRODUCT = _NORM**2

Whole = npt.NDArray[np.int16]
Float64 = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating[Any]]
Counted = tuple[Features, int]


def whole_numbers(
    parts: Sequence[Features], measured: int, lengths: Sequence[int] | None = None,
    *, many: bool = False,
) -> Whole:  # fmt: skip
    """Return the features of some parts, one below the other, as whole numbers.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n, n_features) or (n, height, width, channels)
        Read in blocks: they may be memory-mapped, or lie in parts themselves.
    measured : int
        Mean and variance are those of this many first parts.
    lengths : sequence of int, optional
        First rows of each part that count; default: all of them.
    many : bool
        Keep numbers that take much memory in a file, from which rows are read as they are indexed.

    Returns
    -------
    ndarray of shape (n_images, min(n_features, WIDTH)), int16
    """
    counted = [
        (part, len(part) if lengths is None else lengths[place]) for place, part in enumerate(parts)
    ]
    mean, spread = _mean_and_spread(counted[:measured])
    width = min(len(mean), WIDTH)
    shape = (sum(count for _, count in counted), width)
    found: Any = (empty if many else np.empty)(shape, np.int16)
    start = 0
    for block in _blocks(counted):
        standard = _folded((block - mean) / spread)
        found[start : start + len(block)] = np.clip(np.rint(standard * SCALE), -_LARGEST, _LARGEST)
        start += len(block)
    return cast("Whole", found)


def in_blocks(values: Whole, rows: npt.NDArray[np.int64]) -> Iterator[tuple[slice, Float64]]:
    """Yield some rows of values, block by block, with their places among these rows."""
    for start in range(0, len(rows), ROWS):
        places = slice(start, start + ROWS)
        yield places, values[rows[places]].astype(np.float64)


def directions(values: Whole) -> npt.NDArray[np.float32]:
    """Return vectors of whole numbers, of one length, whose products float32 sums exactly.

    By Cauchy and Schwarz no partial sum of a product of two exceeds 2 ** 24.
    """
    found = np.zeros(values.shape, np.float32)
    for start in range(0, len(values), ROWS):
        block = values[start : start + ROWS].astype(np.float64)
        norms = np.sqrt(np.square(block).sum(axis=1, keepdims=True))
        # Toward zero, so that rounding makes no vector longer.
        found[start : start + ROWS] = np.trunc(block * (_NORM / np.maximum(norms, 1.0)))
    return found


def products(
    values: Whole, references: npt.NDArray[np.float32]
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Yield the products of the directions of some rows with references, block by block.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    references : ndarray of shape (m, n_features), float32
        :func:`directions` of others.

    Yields
    ------
    slice
        Of the rows.
    ndarray of shape (n_rows, m), float32
    """
    for start in range(0, len(values), _PRODUCT_ROWS):
        rows = slice(start, start + _PRODUCT_ROWS)
        yield rows, directions(values[rows]) @ references.T


def _blocks(parts: Sequence[Counted]) -> Iterator[Float64]:
    for part, count in parts:
        for start in range(0, count, ROWS):
            block = np.asarray(part[start : min(start + ROWS, count)], np.float64)
            yield block.mean(axis=tuple(range(1, block.ndim - 1))) if block.ndim > 2 else block


def _mean_and_spread(parts: Sequence[Counted]) -> tuple[Float64, Float64]:
    count, total, squares = 0, np.float64(0), np.float64(0)
    for block in _blocks(parts):
        count, total = count + len(block), total + block.sum(axis=0)
    mean = np.asarray(total / count)
    for block in _blocks(parts):
        squares = squares + np.square(block - mean).sum(axis=0)
    spread = np.sqrt(np.asarray(squares / count))
    # A feature that never changes becomes 0, and not noise.
    return mean, np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1e-6), spread, np.inf)


def _folded(block: Float64) -> Float64:
    width = block.shape[1]
    if width <= WIDTH:
        return block
    signs = np.random.Generator(np.random.Philox(key=0)).integers(0, 2, width) * 2.0 - 1.0
    layers = -(-width // WIDTH)
    padded = np.zeros((len(block), layers * WIDTH))
    padded[:, :width] = block * signs
    return np.asarray(padded.reshape(len(block), layers, WIDTH).sum(axis=1) / np.sqrt(layers))

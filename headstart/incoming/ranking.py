"""Which images to label next: those that the model is unsure of, and that differ from each other.

Images are chosen one by one so that every image is near a chosen or a labeled one, and the nearer
the less sure the model is of it: a greedy weighted facility location (Wei, Iyer and Bilmes 2015,
"Submodularity in data subset selection and active learning"). Ten frames of one scene thus count as
one, a scene that is labeled already as none, and an outlier that resembles nothing is no better
than another image. All sums are exact, so the ranking does not depend on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.audit.moments import Indices
from headstart.audit.vectors import Float64, Whole, directions

#: Images that are chosen from, and that are to be near a chosen one: the work grows with their
#: square. Of more images, these are spread evenly from the least sure to the surest.
_MOST = 4000
_STEPS = 1000.0  # of uncertainty


def uncertainty(probabilities: npt.NDArray[np.floating[Any]]) -> Float64:
    """Return 1 less the margin between the two most likely classes, in steps of 1/1000.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)

    Returns
    -------
    ndarray of shape (n,), float64
        Whole numbers from 0 to 1000.
    """
    best = np.sort(probabilities.astype(np.float64), axis=1)[:, -2:]
    return np.asarray(np.rint(_STEPS * np.round(1 - (best[:, -1] - best[:, 0]), 6)))


def rank(
    probabilities: npt.NDArray[np.floating[Any]], values: Whole, labeled: Whole, count: int
) -> Indices:
    """Return the rows of the images to label next, the most useful one first.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
    values : ndarray of shape (n, n_features), int16
    labeled : ndarray of shape (m, n_features), int16
        Features of images that have a label.
    count : int
        More than there are images: all.

    Returns
    -------
    ndarray of shape (min(count, n),), int64
    """
    unsure = uncertainty(probabilities)
    order = np.argsort(-unsure, kind="stable")
    number = min(len(order), _MOST)
    candidates = order[np.arange(number) * len(order) // max(number, 1)]
    # The least sure first: of equally useful images, this one is taken.
    near = directions(values[candidates])
    likeness = np.maximum(near @ near.T, 0)
    covered = (near @ directions(labeled).T).max(axis=1, initial=0)
    chosen = _cover(likeness, unsure[candidates], covered, min(count, number))
    first = candidates[chosen]
    rest = order[np.isin(order, first, invert=True)]
    return np.concatenate([first, rest])[:count].astype(np.int64)


def _cover(
    likeness: npt.NDArray[np.float32],
    weights: Float64,
    covered: npt.NDArray[np.float32],
    count: int,
) -> Indices:
    """Return candidates in the order in which they add most to the likeness that is covered.

    What one adds only falls as others are chosen, so that an old number is an upper bound
    (Minoux 1978): few are computed again.
    """
    bounds = np.array([_gain(row, covered, weights) for row in likeness])
    chosen = np.empty(count, np.int64)
    for place in range(count):
        while True:
            best = int(bounds.argmax())
            gain = _gain(likeness[best], covered, weights)
            if gain == bounds[best]:
                break
            bounds[best] = gain
        chosen[place], bounds[best] = best, -1.0
        covered = np.maximum(covered, likeness[best])
    return chosen


def _gain(
    row: npt.NDArray[np.float32], covered: npt.NDArray[np.float32], weights: Float64
) -> float:
    return float(np.maximum(row - covered, 0).astype(np.float64) @ weights)

"""Which images to label next: those that the model is unsure of, and that differ from each other.

The least sure images are candidates. Among them, images are chosen one by one so that every
candidate is near a chosen one, and the nearer the less sure the model is of it: a greedy weighted
facility location (Wei, Iyer and Bilmes 2015, "Submodularity in data subset selection and active
learning"). Ten frames of one scene thus count as one, and an outlier that resembles nothing is no
better than another image. All sums are exact, so the ranking does not depend on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.audit.moments import Indices
from headstart.audit.vectors import Float64, Whole, directions

#: Candidates per image that is asked for, and in all: the work grows with their square.
_SHARE, _MOST = 30, 4000
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


def rank(probabilities: npt.NDArray[np.floating[Any]], values: Whole, count: int) -> Indices:
    """Return the rows of the images to label next, the most useful one first.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
    values : ndarray of shape (n, n_features), int16
    count : int
        More than there are images: all.

    Returns
    -------
    ndarray of shape (min(count, n),), int64
    """
    unsure = uncertainty(probabilities)
    order = np.argsort(-unsure, kind="stable")
    candidates = order[: min(_SHARE * count, _MOST)]
    # The least sure first: of equally useful images, this one is taken.
    near = directions(values[candidates])
    likeness = np.maximum(near @ near.T, 0)
    first = candidates[_cover(likeness, unsure[candidates], min(count, len(candidates)))]
    rest = order[np.isin(order, first, invert=True)]
    return np.concatenate([first, rest])[:count].astype(np.int64)


def _cover(likeness: npt.NDArray[np.float32], weights: Float64, count: int) -> Indices:
    """Return candidates in the order in which they add most to the likeness that is covered.

    What one adds only falls as others are chosen, so that an old number is an upper bound
    (Minoux 1978): few are computed again.
    """
    bounds = (likeness.astype(np.float64) @ weights).astype(np.float64)
    covered = np.zeros(len(weights), np.float32)
    chosen = np.empty(count, np.int64)
    for place in range(count):
        while True:
            best = int(bounds.argmax())
            gain = float(np.maximum(likeness[best] - covered, 0).astype(np.float64) @ weights)
            if gain == bounds[best]:
                break
            bounds[best] = gain
        chosen[place], bounds[best] = best, -1.0
        covered = np.maximum(covered, likeness[best])
    return chosen

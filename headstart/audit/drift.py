"""Test whether test images are like training images, by a classifier two-sample test.

A linear classifier learns to distinguish the two on four folds and is asked on the fifth. Its AUROC
is 0.5 if they are alike. How often chance alone reaches it is counted: a draw decides which images
are called test images, many times (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample
tests"). The matrix that the classifier needs is the same for every draw, so that hundreds of them
cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.audit.moments import FOLDS, Indices
from headstart.audit.vectors import Float64, Whole

DRAWS = 199
_MOST = 6_000  # images; more are drawn from
_RIDGE = 0.1  # of the mean variance of a feature


@dataclass(frozen=True)
class Drift:
    """The AUROC of the classifier, the probability of it by chance, and the images compared."""

    auroc: float
    p: float
    images: int


def compare(
    values: Whole,
    test: npt.NDArray[np.integer[Any]],
    groups: Sequence[str],
    seed: int,
    draws: int = DRAWS,
) -> Drift | None:
    """Compare test images with all others; None if either side has fewer than two groups per fold.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    test : ndarray of shape (n,), int64
        1 for a test image, 0 for another.
    groups : sequence of str
        Images of one group are of one side, in the draws too.
    seed : int
    draws : int
        The smallest p is the inverse of this number plus 1.
    """
    random = np.random.Generator(np.random.Philox(key=derive(seed, "audit", "drift")))
    _, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    side = np.zeros(group.max(initial=-1) + 1, np.int64)
    np.maximum.at(side, group, test)
    if min(side.sum(), (1 - side).sum()) < 2 * FOLDS:
        return None
    rows = np.arange(len(values))
    if len(rows) > _MOST:
        rows = np.sort(random.choice(len(rows), _MOST, replace=False))
    folds = random.permutation(len(side)) % FOLDS
    sides = np.stack([side, *(random.permutation(side) for _ in range(draws))], axis=1)
    members = sides[group[rows]].astype(np.float64)
    scores = _scores(values[rows].astype(np.float64), members, folds[group[rows]])
    found = np.round([auroc(scores[:, d], members[:, d]) for d in range(1 + draws)], 4)
    p = (1 + int((found[1:] >= found[0]).sum())) / (1 + draws)
    return Drift(float(found[0]), p, len(rows))


def _scores(values: Float64, members: Float64, folds: Indices) -> Float64:
    """Return the scores of all images by ridge regression on the other folds, for each draw."""
    scores = np.zeros(members.shape)
    for fold in range(FOLDS):
        inside = folds == fold
        ours, theirs = values[~inside], values[inside]
        mean = ours.mean(axis=0)
        ours, theirs = ours - mean, theirs - mean
        products = ours.T @ ours
        level = max(_RIDGE * np.trace(products) / len(products), 1.0)
        products[np.diag_indices(len(products))] += level
        told = members[~inside] - members[~inside].mean(axis=0)
        scores[inside] = theirs @ np.linalg.solve(products, ours.T @ told)
    return scores


def auroc(scores: Float64, positive: Float64) -> float:
    """Return the area under the ROC curve; of scores that agree to 9 digits, half."""
    shown, place = np.unique(np.round(scores, 9), return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(shown))
    misses = np.bincount(place, weights=1 - positive, minlength=len(shown))
    below = np.cumsum(misses) - misses
    total = hits.sum() * misses.sum()
    return float((hits * (below + misses / 2)).sum() / total) if total else 0.5

"""The accuracy by the number of training images, measured on images that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.audit.moments import BLOCKS, FOLDS, Indices, Moments, argmax, discriminant
from headstart.audit.vectors import Float64, Whole

#: Blocks that a classifier of the curve is trained on, and the number of classifiers per fold.
SIZES = {1: 4, 2: 4, 4: 2, 8: 2, 16: 1}
_LEAST_PER_CLASS = 2


@dataclass(frozen=True)
class Curve:
    """Measured points, from small to large.

    Attributes
    ----------
    images : ndarray of shape (n_points,), float64
        Mean number of training images, rounded.
    errors : ndarray of shape (n_points,), float64
        Share of wrong predictions, on all images, each by classifiers that did not see it.
    spread : ndarray of shape (n_points,), float64
        Standard error of this share from the draw of the training images.
    tested : int
        Number of images.
    """

    images: Float64
    errors: Float64
    spread: Float64
    tested: int


def measure(values: Whole, labels: Indices, blocks: Indices, parts: Sequence[Moments]) -> Curve:
    """Train on ever more blocks and test on those of another fold.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    labels, blocks : ndarray of shape (n,), int64
    parts : sequence of Moments
        Of each block.
    """
    rows = [np.flatnonzero(blocks % FOLDS == fold) for fold in range(FOLDS)]
    least = _LEAST_PER_CLASS * len(np.unique(labels))
    points = []
    for size, repeats in SIZES.items():
        images, wrong = [], np.zeros((repeats, FOLDS))
        for fold in range(FOLDS):
            others = [block for block in range(BLOCKS) if block % FOLDS != fold]
            for repeat in range(repeats):
                chosen = others[repeat * size : (repeat + 1) * size]
                moments = Moments.total([parts[block] for block in chosen])
                said = argmax(discriminant(moments).logits(values[rows[fold]]))
                wrong[repeat, fold] = (said != labels[rows[fold]]).sum()
                images.append(moments.counts.sum())
        if np.mean(images) >= least:
            points.append((np.round(np.mean(images)), *_error(wrong, len(labels))))
    sizes, errors, spread = np.array(points).reshape(-1, 3).T
    return Curve(sizes, errors, spread, len(labels))


def _error(wrong: Float64, tested: int) -> tuple[float, float]:
    """Return the share of errors, and its standard error from the draw of training images."""
    repeats = len(wrong)
    share = wrong.sum() / (repeats * tested)
    if repeats == 1:
        return share, np.nan
    per_fold = wrong.var(axis=0, ddof=1) / repeats
    return share, float(np.sqrt(per_fold.sum())) / tested

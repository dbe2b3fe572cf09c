"""The accuracy by the number of training images, measured on images that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.audit.moments import FOLDS, Indices, Linear, Moments, argmax, discriminant
from headstart.audit.vectors import Float64, Whole, in_blocks

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
    labels, blocks : ndarray of shape (n_known,), int64
        Of the first images. The others have no part in the curve.
    parts : sequence of Moments
        Of each block.
    """
    least = _LEAST_PER_CLASS * len(np.unique(labels))
    images = {size: np.zeros((repeats, FOLDS)) for size, repeats in SIZES.items()}
    wrong = {size: np.zeros((repeats, FOLDS)) for size, repeats in SIZES.items()}
    for fold in range(FOLDS):
        others = [part for block, part in enumerate(parts) if block % FOLDS != fold]
        trained: list[tuple[int, int, Linear]] = []
        for size, repeats in SIZES.items():
            for repeat in range(repeats):
                moments = Moments.total(others[repeat * size : (repeat + 1) * size])
                images[size][repeat, fold] = moments.counts.sum()
                trained.append((size, repeat, discriminant(moments)))
        rows = np.flatnonzero(blocks % FOLDS == fold)
        # All classifiers in turn for each block: the features may have to be read from a file.
        for places, block in in_blocks(values, rows):
            for size, repeat, linear in trained:
                said = argmax(linear.logits(block))
                wrong[size][repeat, fold] += (said != labels[rows[places]]).sum()
    points = [
        (np.round(images[size].mean()), *_error(wrong[size], len(labels)))
        for size in SIZES
        if images[size].mean() >= least
    ]
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

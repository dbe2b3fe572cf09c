"""Logistic regression out of fold, whose bits do not depend on the CPU.

The linear discriminant is too sure of images unlike those that it was trained on. A multinomial
logistic regression with a strong L2 penalty is not: no image pulls its weights by more than its
error. Both judge labels together.

All folds are trained at once, by Nesterov's accelerated gradient from zero. Every matrix product is
exact (:mod:`headstart.exact`), and all else is elementwise, so that each step has the same bits on
every CPU. The number of steps is part of the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headstart import exact
from headstart._utils.seeds import derive
from headstart.audit.moments import FOLDS, Indices, Moments
from headstart.audit.vectors import SCALE, Float64, Whole, in_blocks

_PENALTY = 300.0  # of the squared weights of standardized features; the errors are summed
_STEPS, _POWER_STEPS = 30, 12
_ABOVE = 1.1  # of the power method's eigenvalue, which is a little too small
#: Images that are trained on at most, so that the sums of products stay exact, and that times the
#: number of classes.
_MOST, _MOST_TARGETS = 20_000, 2_000_000
#: If the draw would hold fewer images per class, there is no logistic regression.
_LEAST_PER_CLASS = 20


def logistic_out_of_fold(
    values: Whole, labels: Indices, blocks: Indices, parts: Sequence[Moments], seed: int
) -> Float64 | None:
    """Return logits of all images by logistic regressions that did not see them.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    labels, blocks : ndarray of shape (n_known,), int64
        Of the first images. An image is judged by a classifier that saw none of its fold, and the
        images beyond these by one that saw all of these.
    parts : sequence of Moments
        Of each block.
    seed : int
        Draws the images that are trained on, if there are too many.

    Returns
    -------
    ndarray of shape (n, n_classes), float64, or None
        None if there are so many classes that too few images of each could be trained on.
    """
    n_classes, known = len(parts[0].counts), len(blocks)
    most = min(_MOST, _MOST_TARGETS // n_classes)
    if known > most and most < _LEAST_PER_CLASS * n_classes:
        return None
    rows = _sample(known, most, seed)
    heads = FOLDS + (len(values) > known)
    trained = np.stack([blocks[rows] % FOLDS != fold for fold in range(heads)], axis=1)
    steepest = _steepest(parts) * len(rows) / known
    weights, bias = _fit(values[rows], labels[rows], trained, n_classes, steepest)
    grid = _gridded(weights, heads)
    folds = np.concatenate([blocks % FOLDS, np.full(len(values) - known, FOLDS)])
    logits = np.empty((len(values), n_classes))
    for places, block in in_blocks(values, np.arange(len(values))):
        every = (block @ grid / SCALE + bias).reshape(len(block), heads, n_classes)
        logits[places] = every[np.arange(len(block)), folds[places]]
    return logits


def _sample(known: int, most: int, seed: int) -> Indices:
    if known <= most:
        return np.arange(known)
    random = np.random.Generator(np.random.Philox(key=derive(seed, "audit", "logistic")))
    return np.sort(random.choice(known, most, replace=False))


def _steepest(parts: Sequence[Moments]) -> float:
    """Return the largest eigenvalue of the standardized features' products (power method)."""
    total = exact.on_grid(Moments.total(parts).products / SCALE**2)
    vector, length = np.ones((len(total), 1)), 0.0
    for _ in range(_POWER_STEPS):
        vector = exact.product(total, exact.on_grid(vector))
        length = max(float(np.sqrt(np.square(vector).sum())), 1.0)
        vector /= length
    return _ABOVE * length


def _fit(
    values: Whole, labels: Indices, trained: npt.NDArray[np.bool_], n_classes: int, steepest: float
) -> tuple[Float64, Float64]:
    """Return the weights and the bias of all folds, one beside the other.

    A gradient step is as long as the largest curvature allows: that of the softmax is at most 1/2
    (Böhning 1992, "Multinomial logistic regression algorithm").
    """
    width = trained.shape[1] * n_classes
    weights, bias = np.zeros((values.shape[1], width)), np.zeros(width)
    ahead, ahead_bias = weights, bias
    step, step_bias = 1 / (0.5 * steepest + _PENALTY), 1 / (0.5 * len(values))
    momentum = 1.0
    for _ in range(_STEPS):
        slope, slope_bias = _slopes(values, labels, trained, ahead, ahead_bias)
        new = ahead - step * (slope + _PENALTY * ahead)
        new_bias = ahead_bias - step_bias * slope_bias
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        share, momentum = (momentum - 1) / following, following
        ahead, ahead_bias = new + share * (new - weights), new_bias + share * (new_bias - bias)
        weights, bias = new, new_bias
    return weights, bias


def _slopes(
    values: Whole, labels: Indices, trained: npt.NDArray[np.bool_], weights: Float64, bias: Float64
) -> tuple[Float64, Float64]:
    """Return the derivatives of the summed errors by weights and bias."""
    grid = _gridded(weights, trained.shape[1])
    slope, slope_bias = np.zeros(weights.shape), np.zeros(bias.shape)
    for places, block in in_blocks(values, np.arange(len(values))):
        shape = (len(block), trained.shape[1], -1)
        # Numbers of 15 and 21 bits: sums of 100,000 products are exact, over all blocks.
        raised = (block @ grid / SCALE + bias).reshape(shape)
        raised = exact.exp(raised - raised.max(axis=2, keepdims=True))
        raised /= raised.sum(axis=2, keepdims=True)
        raised[np.arange(len(block)), :, labels[places]] -= 1.0
        raised *= trained[places, :, None]
        errors = exact.on_grid(raised.reshape(len(block), -1), 1.0)
        slope += block.T @ errors
        slope_bias += errors.sum(axis=0)
    return slope / SCALE, slope_bias


def _gridded(weights: Float64, heads: int) -> Float64:
    """Return the weights on a grid of each fold's own, so that none depends on another fold."""
    parts = np.split(weights, heads, axis=1)
    return np.concatenate([exact.on_grid(part) for part in parts], axis=1)

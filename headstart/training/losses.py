"""The loss of a head in NumPy, and its gradient, from logits: finite even for sure mistakes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.exact import exp, log, log1p
from headstart.training.parameters import Loss

Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]


class Measured(NamedTuple):
    """The loss of each image, and whether the label is first."""

    losses: Float64
    right: npt.NDArray[np.bool_]


def measure(loss: Loss, logits: Float64, labels: Labels, smoothing: float) -> Measured:
    """Measure logits against labels, as Keras' losses do.

    Parameters
    ----------
    loss : "categorical_crossentropy" | "binary_crossentropy"
    logits : ndarray of shape (n, n_classes), or (n, 1): class 1 against class 0
    labels : ndarray of shape (n,), integers
    smoothing : float
        Share of each label that is spread over the classes.
    """
    wanted = _wanted(loss, logits, labels, smoothing)
    if logits.shape[1] == 1:
        right = (logits[:, 0] > 0) == (labels > 0)  # A tie goes to the first class.
    else:
        right = logits.argmax(axis=1) == labels
    if loss == "categorical_crossentropy":
        top = logits.max(axis=1, keepdims=True)
        total = exp(logits - top).sum(axis=1, keepdims=True)
        return Measured((log(total) + top)[:, 0] - (wanted * logits).sum(axis=1), right)
    small = exp(-np.abs(logits))
    each = np.maximum(logits, 0.0) - wanted * logits + log1p(small)
    return Measured(each.sum(axis=1) / logits.shape[1], right)


def gradients(loss: Loss, logits: Float64, labels: Labels, smoothing: float) -> Float64:
    """Return the gradient of each image's loss by its logits, with the arguments of measure."""
    wanted = _wanted(loss, logits, labels, smoothing)
    if loss == "categorical_crossentropy":
        likely = exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        likely -= wanted
        return likely
    small = exp(-np.abs(logits))
    likely = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return np.asarray((likely - wanted) / logits.shape[1])


def _wanted(loss: Loss, logits: Float64, labels: Labels, smoothing: float) -> Float64:
    count = logits.shape[1]
    spread = smoothing / (count if loss == "categorical_crossentropy" else 2)
    if count == 1:
        return np.asarray(labels[:, None].astype(np.float64) * (1 - smoothing) + spread)
    wanted = np.full(logits.shape, spread)
    wanted[np.arange(len(labels)), labels] = (1 - smoothing) + spread
    return wanted

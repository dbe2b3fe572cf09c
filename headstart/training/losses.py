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
    """The loss of each image, its gradient by the logits, and whether the label is first."""

    losses: Float64
    gradients: Float64
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
    count = logits.shape[1]
    if count == 1:
        wanted = labels[:, None].astype(np.float64)
        right = (logits[:, 0] > 0) == (labels > 0)  # A tie goes to the first class.
    else:
        wanted = np.zeros(logits.shape)
        wanted[np.arange(len(labels)), labels] = 1.0
        right = logits.argmax(axis=1) == labels
    if loss == "categorical_crossentropy":
        wanted = wanted * (1 - smoothing) + smoothing / count
        top = logits.max(axis=1, keepdims=True)
        raised = exp(logits - top)
        total = raised.sum(axis=1, keepdims=True)
        losses = (log(total) + top)[:, 0] - (wanted * logits).sum(axis=1)
        return Measured(losses, raised / total - wanted, right)
    wanted = wanted * (1 - smoothing) + smoothing / 2
    small = exp(-np.abs(logits))
    losses = (np.maximum(logits, 0.0) - wanted * logits + log1p(small)).sum(axis=1) / count
    likely = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return Measured(losses, (likely - wanted) / count, right)

"""What is measured on a test split: pure functions of logits, probabilities and labels.

Throughout: ``labels`` and ``predicted`` are class indices, ndarray of shape (n,) of integers;
``probabilities`` has shape (n, n_classes); everything is computed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

_Z95 = 1.959963984540054  # the 0.975 quantile of the normal distribution


@dataclass(frozen=True)
class PerClass:
    """Precision, recall, F1 (shares; 0 where undefined) and support of each class."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy in bins of equal width; bin i covers (i / bins, (i + 1) / bins].

    Attributes
    ----------
    confidence, accuracy : ndarray of shape (bins,), float64
        Means over the images of a bin; 0 where there are none.
    count : ndarray of shape (bins,), int64
    error : float
        Expected calibration error: mean distance of accuracy and confidence, weighted by count.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    error: float


def wilson_interval(right: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Confidence interval of a share, by default of 95 %.

    Wilson's score interval: it stays within 0 and 1 and is not empty at either end, where the
    usual ± standard error is.

    Parameters
    ----------
    right, n : int
        Successes, and trials; n ≥ 1.
    z : float
        Quantile of the normal distribution for half of the error.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22, 209-212.
    """
    share, square = right / n, z * z
    center = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    # At the ends, rounding would leave 1e-17 between the bound and what it is.
    low = 0.0 if right == 0 else max(0.0, center - half)
    high = 1.0 if right == n else min(1.0, center + half)
    return low, high


def binary_accuracy(probabilities: Floats, labels: Ints) -> float:
    """Share of all outputs that are on the right side of one half, each class by itself.

    What Keras calls accuracy with sigmoids and a binary loss. It says little: with n classes, no to
    every one of them is right in all but one of n outputs.
    """
    wanted = labels[:, None] == np.arange(probabilities.shape[1])[None, :]
    return float(np.mean((probabilities > 0.5) == wanted))


def top_k_hits(probabilities: Floats, labels: Ints, k: int) -> int:
    """How many labels are among the k most probable classes.

    Of classes with equal probability the first come first, as in the model's own first guess.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    rank = (probabilities > own).sum(axis=1) + ((probabilities == own) & before).sum(axis=1)
    return int((rank < k).sum())


def confusion_matrix(labels: Ints, predicted: Ints, n_classes: int) -> npt.NDArray[np.int64]:
    """Counts of shape (n_classes, n_classes): row = the label, column = what was predicted."""
    flat = np.asarray(labels, np.int64) * n_classes + predicted
    return np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def per_class(confusion: npt.NDArray[np.int64]) -> PerClass:
    """Precision, recall and F1 of each class from a confusion matrix."""
    right = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return PerClass(
        precision=_share(right, predicted),
        recall=_share(right, support),
        f1=_share(2 * right, predicted + support),
        support=support,
    )


def calibration(probabilities: Floats, labels: Ints, bins: int) -> Calibration:
    """How far the probability of the first guess is from how often it is right.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks.
    ICML 34, equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean_confidence = _share(np.bincount(place, confidence, bins), count)
    mean_right = _share(np.bincount(place, right, bins), count)
    error = float(np.sum(count * np.abs(mean_right - mean_confidence)) / len(labels))
    return Calibration(mean_confidence, mean_right, count, error)


def _share(part: npt.NDArray[Any], whole: Ints) -> npt.NDArray[np.float64]:
    share = np.zeros(len(part))
    np.divide(part, whole, out=share, where=whole > 0)
    return share

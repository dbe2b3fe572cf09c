"""Calibration: confidence and accuracy in bins, to judge whether probabilities can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.evaluation.confusion import shares

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.integer[Any]]
    Floats = npt.NDArray[np.floating[Any]]


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


def calibration(probabilities: Floats, labels: Ints, bins: int) -> Calibration:
    """Compare the probability of the predicted class with how often it is correct.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural networks.
    ICML 34, equation 3.
    """
    import numpy as np

    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    mean_confidence = shares(np.bincount(place, confidence, bins), count)
    mean_correct = shares(np.bincount(place, correct, bins), count)
    error = float(np.sum(count * np.abs(mean_correct - mean_confidence)) / len(labels))
    return Calibration(mean_confidence, mean_correct, count, error)

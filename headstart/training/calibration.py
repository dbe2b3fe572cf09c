"""Temperature scaling: one number that brings a model's confidence to its accuracy.

All logits are divided by a temperature, chosen by the validation loss (Guo et al. 2017, "On
Calibration of Modern Neural Networks"). No prediction changes, only how sure it is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.exact import exp
from headstart.training.parameters import Loss
from headstart.training.scores import mean_loss

#: Spread of a temperature's logarithm that is expected beforehand. Few validation images, or images
#: without a mistake among them, then move the temperature little; without it, to 0 or to infinity.
_SPREAD = 0.5
#: The search is over temperatures from 1/20 to 20.
_WIDEST = float(math.log(20.0))
_GRID = 9
_ROUNDS = 6
#: Digits that a temperature keeps: others are noise of the machine's arithmetic.
_DIGITS = 4


class Calibrated(NamedTuple):
    """A temperature and the mean loss of the validation images with it."""

    temperature: float
    loss: float


def calibrate(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    activation: str,
    doubt: float = 0.0,
) -> Calibrated:
    """Return the temperature that fits validation logits best, and the loss with it.

    The loss over all images, with a weak prior that the temperature is about 1, is smallest there.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
        Not finite ones give temperature 1 and a loss that is not finite.
    labels : ndarray of shape (n,), integers
    activation, doubt
        As for :func:`headstart.training.scores.losses`.
    """
    wide = np.asarray(logits, np.float64)
    if not np.isfinite(wide).all():
        return Calibrated(1.0, float("nan"))

    def objective(log: float) -> float:
        prior = 0.5 * (log / _SPREAD) ** 2 / len(labels)
        return mean_loss(wide * exp(-log), labels, activation, doubt) + prior

    low, high = -_WIDEST, _WIDEST
    for _ in range(_ROUNDS):
        grid = np.linspace(low, high, _GRID)
        best = int(np.argmin([objective(float(log)) for log in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    temperature = float(
        np.format_float_positional(float(exp(grid[best])), _DIGITS, fractional=False)
    )
    return Calibrated(temperature, mean_loss(wide / temperature, labels, activation, doubt))


def score_logits(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    loss: Loss,
    *,
    calibrated: bool,
    doubt: float = 0.0,
) -> tuple[float, float]:
    """Return the mean loss of logits, with the best temperature if asked for, and the accuracy.

    A single column of logits is that of class 1 against class 0.
    """
    activation = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    if logits.shape[1] == 1:
        logits, activation = np.pad(logits, ((0, 0), (1, 0))), "softmax"
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    if calibrated:
        return calibrate(logits, labels, activation, doubt).loss, accuracy
    return mean_loss(logits, labels, activation, doubt), accuracy

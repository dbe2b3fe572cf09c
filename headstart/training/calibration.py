"""Temperature scaling: one number that brings a model's confidence to its accuracy.

All logits are divided by a temperature, chosen by the validation loss (Guo et al. 2017, "On
Calibration of Modern Neural Networks"). No prediction changes, only how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
#: Error of a computed loss in proportion to the logits, a hundred times that of double precision.
_ROUNDING = 1e-13
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

    search = _Search(
        lambda log: mean_loss(wide * exp(-log), labels, activation, doubt),
        lambda log: 0.5 * (log / _SPREAD) ** 2 / len(labels),
        float(np.abs(wide).max(initial=0.0)),
    )
    low, high = -_WIDEST, _WIDEST
    for _ in range(_ROUNDS):
        grid = np.linspace(low, high, _GRID)
        best = search.smallest([float(log) for log in grid])
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    temperature = float(
        np.format_float_positional(float(exp(grid[best])), _DIGITS, fractional=False)
    )
    return Calibrated(temperature, mean_loss(wide / temperature, labels, activation, doubt))


class _Search:
    """The smallest of a grid of sums, each of a loss and a prior, with few losses computed.

    A loss is convex in the inverse of the temperature, so that a line through two computed ones
    bounds it from below beyond them. What cannot be the smallest is not computed.

    Parameters
    ----------
    loss, prior : callable
        Of a temperature's logarithm; ``loss`` takes long.
    largest : float
        The largest absolute logit: rounding is in proportion to it.
    """

    def __init__(
        self, loss: Callable[[float], float], prior: Callable[[float], float], largest: float
    ) -> None:
        self._loss, self._prior, self._largest = loss, prior, largest
        self._losses: dict[float, float] = {}

    def smallest(self, grid: Sequence[float]) -> int:
        """Return the index of the smallest sum, of equal ones the first."""
        middle = len(grid) // 2
        waiting = sorted(range(len(grid)), key=lambda index: abs(index - middle))
        while True:
            sums = {
                i: self._losses[x] + self._prior(x) for i, x in enumerate(grid) if x in self._losses
            }
            bounds = {
                i: self._bound(grid[i]) + self._prior(grid[i]) for i in waiting if i not in sums
            }
            if not bounds or (sums and min(bounds.values()) > min(sums.values())):
                return min(sums, key=lambda i: (sums[i], i))
            least = min(bounds, key=bounds.__getitem__)  # of equal ones, the nearest to the middle
            self._losses[grid[least]] = self._loss(grid[least])

    def _bound(self, log: float) -> float:
        """Return what a loss is at least, by the two computed ones on either side of it."""
        x = math.exp(-log)
        known = sorted((math.exp(-each), loss) for each, loss in self._losses.items())
        below = [point for point in known if point[0] < x][-2:]
        above = [point for point in known if point[0] > x][:2]
        found = 0.0
        for near, far in ((below[-1:], below[:-1]), (above[:1], above[1:])):
            if far and far[0][0] != near[0][0]:
                (x1, loss1), (x2, loss2) = near[0], far[0]
                steps = (x - x1) / (x1 - x2)
                doubt = _ROUNDING * (1 + self._largest * max(x, x1, x2)) * (1 + 2 * steps)
                found = max(found, loss1 + (loss1 - loss2) * steps - doubt)
        return found


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

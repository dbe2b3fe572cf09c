"""The doubt about a label: log odds from the out-of-fold classifier and the nearest neighbors.

The probability of a class is a softmax of ``a * logit + b * share``: ``a`` brings the confidence of
the classifier to its accuracy, and ``b`` weighs the share of the class among the nearest images. A
label is wrong with probability ``rate``, and then it is any of the other classes. These three
numbers are those under which the given labels are most probable (expectation maximization): images
between two classes lower ``a`` and ``b``, and only labels with all evidence against them raise
``rate``.
The probability that a label is wrong follows by Bayes' rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.audit.vectors import Float64

_STEPS = 40
_VALUES = 2_000_000  # logits that the three numbers are fitted on
#: Prior images in favor of a small rate: without them, every image would be suspected.
_WRONG_BEFORE, _BEFORE = 0.5, 25.0
_WIDTH_BEFORE = 10.0  # of the normal distribution about 0 of both weights, in standard units
_DIGITS = 3
_ROWS = 4096

Shares = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Judge:
    """The three numbers; the weights are rounded to 6 digits, the rate to 4."""

    logit_weight: float
    share_weight: float
    rate: float

    def combined(self, logits: Float64, shares: Shares) -> Float64:
        """Return one logit per class, of shape (n, n_classes)."""
        return self.logit_weight * logits + self.share_weight * np.asarray(shares, np.float64)

    def wrong(self, doubts: Float64, n_classes: int) -> Float64:
        """Return the probability that a label is wrong, from its doubt."""
        odds = self.rate / ((1 - self.rate) * max(n_classes - 1, 1))
        chance = 1.0 / (1.0 + np.exp(-np.clip(doubts, -60, 60)) / odds)
        return np.asarray(np.round(chance, 4), np.float64)

    def memberships(self, combined: Float64, labels: npt.NDArray[np.int64]) -> Float64:
        """Return how probably each image belongs to each class, of shape (n, n_classes).

        It belongs to the class of its label unless that is wrong, and then to the others as they
        are probable.
        """
        rows = np.arange(len(labels))
        wrong = self.wrong(doubts(combined, labels), combined.shape[1])
        others = combined.copy()
        others[rows, labels] = -np.inf
        found = np.exp(others - others.max(axis=1, keepdims=True))
        found *= (wrong / found.sum(axis=1))[:, None]
        found[rows, labels] = 1 - wrong
        return np.asarray(found, np.float64)


def fit_judge(
    logits: Float64,
    shares: Shares,
    labels: npt.NDArray[np.int64],
    known_rate: float | None = None,
) -> Judge:
    """Fit the three numbers to the labels of some images.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes), float64
        By a classifier that did not see the image.
    shares : ndarray of shape (n, n_classes)
        Of the classes among the nearest other images.
    labels : ndarray of shape (n,), int64
        May be wrong.
    known_rate : float, optional
        Share of wrong labels, which is then not fitted.
    """
    every = max(1, -(-logits.size // _VALUES))
    values = np.stack([logits[::every], np.asarray(shares[::every], np.float64)])
    values = np.maximum(values, -1e4)
    labels = labels[::every]
    rows = np.arange(len(labels))
    units = np.array([max(float(np.std(each[each > -1e3])), 1e-6) for each in values])
    weights = np.array([1.0, 1.0]) / units
    rate = 0.02 if known_rate is None else known_rate
    for _ in range(_STEPS):
        shown = np.tensordot(weights, values, 1)
        likely = np.exp(shown - shown.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        own = np.clip(likely[rows, labels], 1e-12, 1 - 1e-12)
        odds = rate / ((1 - rate) * max(likely.shape[1] - 1, 1)) * (1 - own) / own
        wrong = odds / (1 + odds)
        if known_rate is None:
            rate = float((wrong.sum() + _WRONG_BEFORE) / (len(wrong) + _BEFORE))
        actual = likely * (wrong / (1 - own))[:, None]
        actual[rows, labels] = 1 - wrong
        weights = _newton(weights, values, likely, actual, units)
    a, b = (float(f"{weight:.6g}") for weight in weights)
    return Judge(a, b, round(rate, 4))


def _newton(
    weights: Float64, values: Float64, likely: Float64, actual: Float64, units: Float64
) -> Float64:
    """Return the weights after a step toward the actual classes, none below 0."""
    mean = (values * likely).sum(axis=2)
    slope = ((values * actual).sum(axis=2) - mean).sum(axis=1)
    curve = np.einsum("anc,bnc,nc->ab", values, values, likely, optimize=True) - mean @ mean.T
    before = np.diag((units / _WIDTH_BEFORE) ** 2)
    step = np.linalg.solve(curve + before, slope - before @ weights)
    # No more than twice or half at once, which far from the solution the quadratic would exceed.
    stepped = np.clip(weights + step, weights / 2, np.maximum(2 * weights, 1e-3 / units))
    return np.asarray(stepped, np.float64)


def doubts(combined: Float64, labels: npt.NDArray[np.int64]) -> Float64:
    """Return the log odds that an image belongs to another class than its label, to 3 digits."""
    found = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS):
        block = combined[start : start + _ROWS]
        rows, own = np.arange(len(block)), labels[start : start + _ROWS]
        others = block.copy()
        others[rows, own] = -np.inf
        top = others.max(axis=1)
        rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
        found[start : start + _ROWS] = rest - block[rows, own]
    return np.asarray(np.round(np.clip(found, -999, 999), _DIGITS), np.float64)

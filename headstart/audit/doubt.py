"""The doubt about a label: log odds from the out-of-fold classifier and the nearest neighbors.

The probability of a class is a softmax of a weighted sum: of the logits of some classifiers and of
the share of the class among the nearest images. The weights bring the confidence to the accuracy.
An image of class i is labeled j with a probability that the noise matrix holds. Weights and noise
are those under which the given labels are most probable (expectation maximization): images between
two classes lower the weights, and only labels with all evidence against them raise the noise. The
probability that a label is wrong follows by Bayes' rule.

The noise is shrunk: the rate of a class toward that of all, and the share of each wrong class
toward an equal share. How far the latter goes follows from the labels, too: wrong labels that are
spread evenly give equal shares, and those that always confuse the same two classes keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.audit.vectors import Float64

_STEPS = 40
_VALUES = 1_000_000  # logits that the weights and the noise are fitted on
#: Prior images in favor of a small rate: without them, every image would be suspected.
_WRONG_BEFORE, _BEFORE = 0.5, 25.0
#: Prior images of each class that are wrong as often as those of all classes, and prior images of
#: each wrong class. The most probable number of each is taken.
_OF_CLASS = np.geomspace(50, 5000, 9)
_SPREADS = np.geomspace(0.02, 200, 25)
_WIDTH_BEFORE = 10.0  # of the normal distribution about 0 of each weight, in standard units
_DIGITS = 3
#: Log evidence by which more noise has to be ahead.
_CLEARLY = 0.5
_ROWS = 4096
#: Of the first noise matrix; and images of it that are added to those of the second.
_FIRST_RATE, _TAKEN = 0.02, 50.0

Shares = npt.NDArray[np.floating[Any]]
Evidence = Sequence[Shares]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judge:
    """How probable each class is, and each label of an image of that class.

    Attributes
    ----------
    weights : tuple of float
        Of each kind of evidence, rounded to 6 digits.
    noise : ndarray of shape (n_classes, n_classes), float64
        Probability that an image of the row's class has the label of the column, to 6 decimals.
    rate : float
        Share of wrong labels, to 4 decimals.
    """

    weights: tuple[float, ...]
    noise: Float64
    rate: float

    def combined(self, evidence: Evidence) -> Float64:
        """Return one logit per class, of shape (n, n_classes)."""
        found = np.zeros(evidence[0].shape)
        for weight, each in zip(self.weights, evidence, strict=True):
            found += weight * np.asarray(each, np.float64)
        return found

    def memberships(self, combined: Float64, labels: Labels) -> Float64:
        """Return how probably each image belongs to each class, of shape (n, n_classes)."""
        return _softmax(combined + np.log(self.noise)[:, labels].T)

    def doubts(self, combined: Float64, labels: Labels) -> tuple[Float64, Labels]:
        """Return the log odds that a label is wrong, to 3 digits, and the class it should be then.

        Parameters
        ----------
        combined : ndarray of shape (n, n_classes), float64
        labels : ndarray of shape (n,), int64

        Returns
        -------
        doubts : ndarray of shape (n,), float64
        suggested : ndarray of shape (n,), int64
            The most probable of the other classes.
        """
        noise = np.log(self.noise)
        found, suggested = np.empty(len(labels)), np.empty(len(labels), np.int64)
        for start in range(0, len(labels), _ROWS):
            own = labels[start : start + _ROWS]
            rows = np.arange(len(own))
            others = combined[start : start + _ROWS] + noise[:, own].T
            given = others[rows, own]
            others[rows, own] = -np.inf
            top = others.max(axis=1)
            rest = top + np.log(np.exp(others - top[:, None]).sum(axis=1))
            found[start : start + _ROWS] = rest - given
            suggested[start : start + _ROWS] = np.round(others, 6).argmax(axis=1)
        return np.asarray(np.round(np.clip(found, -999, 999), _DIGITS), np.float64), suggested


def wrong(doubts: Float64) -> Float64:
    """Return the probability that a label is wrong, from its doubt."""
    return np.asarray(np.round(1.0 / (1.0 + np.exp(-np.clip(doubts, -60, 60))), 4), np.float64)


def fit_judge(evidence: Evidence, labels: Labels, noise: Float64 | None = None) -> Judge:
    """Fit a judge to the labels of some images.

    Parameters
    ----------
    evidence : sequence of ndarray of shape (n, n_classes)
        Logits by classifiers that did not see the image, and the shares of the classes among the
        nearest other images.
    labels : ndarray of shape (n,), int64
        May be wrong.
    noise : ndarray of shape (n_classes, n_classes), float64, optional
        Is then not fitted.
    """
    every = max(1, -(-evidence[0].size // _VALUES))
    values = np.stack([np.asarray(each[::every], np.float64) for each in evidence])
    values = np.maximum(values, -1e4)
    labels = labels[::every]
    units = np.array([max(float(np.std(each[each > -1e3])), 1e-6) for each in values])
    first = 2 / len(values) / units
    if noise is not None:
        return _fitted(values, labels, units, first, noise, fixed=True)[0]
    even = _even(values.shape[2], _FIRST_RATE)
    spread, spread_evidence = _fitted(values, labels, units, first, even)
    # Once more from the other end: every image that is taken for another class is mislabeled.
    taken = np.zeros_like(even)
    np.add.at(taken, (np.tensordot(first, values, 1).argmax(axis=1), labels), 1)
    pairs = (taken + _TAKEN * even) / (taken.sum(axis=1, keepdims=True) + _TAKEN)
    paired, paired_evidence = _fitted(values, labels, units, 2 * first, pairs)
    return paired if paired_evidence > spread_evidence + _CLEARLY else spread


def _fitted(
    values: Float64, labels: Labels, units: Float64, weights: Float64, noise: Float64,
    *, fixed: bool = False,
) -> tuple[Judge, float]:  # fmt: skip
    """Return what is found from some first weights and noise, and the log evidence for it."""
    for _ in range(_STEPS):
        likely = _softmax(np.tensordot(weights, values, 1))
        actual = likely * noise[:, labels].T
        actual /= actual.sum(axis=1, keepdims=True)
        if not fixed:
            noise = _noise(_counts(actual, labels))[0]
        weights = _newton(weights, values, likely, actual, units)
    likely = _softmax(np.tensordot(weights, values, 1))
    actual = likely * noise[:, labels].T
    actual /= actual.sum(axis=1, keepdims=True)
    counts = _counts(actual, labels)
    # The lower bound of variational inference: the classes, their uncertainty, and the noise.
    evidence = (actual * np.log(np.maximum(likely, 1e-300) / np.maximum(actual, 1e-300))).sum()
    rounded = tuple(float(f"{weight:.6g}") for weight in weights)
    noise = np.maximum(np.round(noise, 6), 1e-6)
    rate = float(1 - counts.diagonal().sum() / len(labels))
    return Judge(rounded, noise, round(rate, 4)), float(evidence + _noise(counts)[1])


def _counts(actual: Float64, labels: Labels) -> Float64:
    """Return the expected number of images of each class (rows) with each label (columns)."""
    found = np.zeros((actual.shape[1],) * 2)
    np.add.at(found.T, labels, actual)
    return found


def _even(n_classes: int, rate: float) -> Float64:
    """Return a noise matrix whose wrong labels are spread evenly."""
    found = np.full((n_classes, n_classes), rate / max(n_classes - 1, 1))
    np.fill_diagonal(found, 1 - rate)
    return found


def _noise(counts: Float64) -> tuple[Float64, float]:
    """Return the noise matrix of some counts, and the log evidence for its prior."""
    n_classes = len(counts)
    from scipy.special import betaln, gammaln  # slow to import

    diagonal = np.eye(n_classes, dtype=bool)
    off, total = np.where(diagonal, 0.0, counts), counts.sum(axis=1)
    wrong = off.sum(axis=1)
    rate = float((wrong.sum() + _WRONG_BEFORE) / (total.sum() + _BEFORE))
    # A beta distribution of the rates, and a Dirichlet distribution of the wrong classes.
    hits, misses = _OF_CLASS[:, None] * rate, _OF_CLASS[:, None] * (1 - rate)
    levels = (betaln(wrong + hits, total - wrong + misses) - betaln(hits, misses)).sum(axis=1)
    strength, level = _best(_OF_CLASS, levels)
    rates = (wrong + strength * rate) / (total + strength)
    several = [
        (gammaln(prior * (n_classes - 1)) - gammaln(prior * (n_classes - 1) + wrong)).sum()
        + np.where(diagonal, 0.0, gammaln(off + prior) - gammaln(prior)).sum()
        for prior in _SPREADS
    ]
    prior, of_classes = _best(_SPREADS, np.array(several))
    shares = np.where(diagonal, 0.0, off + prior)
    noise = shares / shares.sum(axis=1, keepdims=True) * rates[:, None]
    noise[diagonal] = 1 - rates
    # Without the prior images for a small rate: they are a precaution and no evidence.
    return noise, level + of_classes


def _best(values: Float64, levels: Float64) -> tuple[float, float]:
    """Return the value of the highest level, and the level."""
    place = int(np.round(levels, 6).argmax())
    return float(values[place]), float(levels[place])


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


def _softmax(logits: Float64) -> Float64:
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return np.asarray(found, np.float64)

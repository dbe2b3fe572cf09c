"""Two classifiers that measure the quality of features: nearest neighbors, and a linear one.

Neither looks at validation or test images while it learns, and neither has settings to tune: the
strength of the linear one's regularization is chosen on a fifth of the training images.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import uniform

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Raise it with any change of a result: recorded results of another number are not used.
SPEC = 1
#: Neighbors, and how fast their weight falls with the distance (Wu et al., "Unsupervised feature
#: learning via non-parametric instance discrimination", CVPR 2018).
NEIGHBORS, _TEMPERATURE = 20, 0.07
#: Inverse strengths of the L2 regularization, from strong to weak, for standardized features.
_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HELD_SHARE = 0.2
_ITERATIONS = 300
#: Similarities that are held at once.
_AT_ONCE = 1 << 24


class Linear(NamedTuple):
    """A linear classifier on standardized features.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
    model : LogisticRegression
        Its classes are class indices.
    strength : float
        The inverse strength of the regularization that was chosen.
    """

    mean: Floats
    scale: Floats
    model: Any
    strength: float

    def predict(self, features: Floats) -> Ints:
        """Return the class index of each row."""
        found: Ints = self.model.predict((features - self.mean) / self.scale)
        return found


def nearest(train: Floats, labels: Ints, features: Floats, n_classes: int) -> Ints:
    """Return the class of each row by its nearest training images, by the cosine of the features.

    Parameters
    ----------
    train : ndarray of shape (n, d)
    labels : ndarray of shape (n,)
    features : ndarray of shape (m, d)
    n_classes : int
    """
    known, asked = _unit(train), _unit(features)
    count = min(NEIGHBORS, len(known))
    found = np.empty(len(asked), np.int64)
    block = max(1, _AT_ONCE // len(known))
    for start in range(0, len(asked), block):
        likeness = asked[start : start + block] @ known.T
        near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        weights = np.exp((np.take_along_axis(likeness, near, axis=1) - 1) / _TEMPERATURE)
        votes = np.zeros((len(near), n_classes))
        for column in range(count):
            np.add.at(votes, (np.arange(len(near)), labels[near[:, column]]), weights[:, column])
        found[start : start + block] = votes.argmax(axis=1)
    return found


def _unit(features: Floats) -> Floats:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def fit_linear(
    train: Floats, labels: Ints, keys: Sequence[str], seed: int, strength: float | None = None
) -> Linear:
    """Fit a logistic regression; its regularization is chosen on a fifth of the training images.

    Parameters
    ----------
    train : ndarray of shape (n, d)
    labels : ndarray of shape (n,)
        At least two different ones.
    keys : sequence of str
        Of each row: rows with the same key (a split group) stay together.
    seed : int
        Draws the fifth.
    strength : float, optional
        That of an earlier fit on the same images, which is not searched again.
    """
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-30), deviation, 1)
    standardized = ((train - mean) / scale).astype(np.float32)
    if strength is None:
        held = _held(labels, keys, seed)
        few = len(np.unique(labels[~held])) < 2 or not held.any()
        strength = _STRENGTHS[2] if few else _best_strength(standardized, labels, held)
    return Linear(mean, scale, _fit(standardized, labels, strength), strength)


def _best_strength(features: Floats, labels: Ints, held: npt.NDArray[np.bool_]) -> float:
    """Return the strength with the lowest loss on the held images; it falls, and then rises."""
    # A class that is only among the held images cannot be foreseen.
    judged = held & np.isin(labels, labels[~held])
    best, lowest = _STRENGTHS[0], np.inf
    model = None
    for strength in _STRENGTHS:
        model = _fit(features[~held], labels[~held], strength, model)
        places = np.searchsorted(model.classes_, labels[judged])
        probabilities = model.predict_proba(features[judged])[np.arange(judged.sum()), places]
        loss = float(-np.log(np.maximum(probabilities, 1e-12)).mean())
        if loss >= lowest:
            break
        best, lowest = strength, loss
    return best


def _fit(features: Floats, labels: Ints, strength: float, start: Any = None) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = start or LogisticRegression(max_iter=_ITERATIONS, warm_start=True)
    with warnings.catch_warnings():
        # The number of steps is part of the recipe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.set_params(C=strength).fit(features, labels)


def _held(labels: Ints, keys: Sequence[str], seed: int) -> npt.NDArray[np.bool_]:
    """Return which rows are held: of each class, a fifth in the order of a hash of their keys."""
    order = np.array([uniform(seed, "probe", key) for key in keys])
    held = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held[rows[np.argsort(order[rows], kind="stable")[: int(_HELD_SHARE * len(rows))]]] = True
    return held

"""Blocks of images, their exact sums, and linear classifiers that follow from sums alone.

The images are dealt into :data:`BLOCKS` blocks. Sums over blocks are added and never computed
again, so that the classifiers of all folds and of all sizes of a learning curve cost one pass over
the features. The classifier is a linear discriminant: means of the classes, and one covariance for
all, shrunk toward a multiple of the identity. The oracle approximation of Chen, Wiesel, Eldar and
Hero (2010, "Shrinkage algorithms for MMSE covariance estimation") shrinks as much as normal
distributions need. Features have longer tails and need more: its cube root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.audit.vectors import Float64, Whole, in_blocks

BLOCKS = 20
FOLDS = 5
#: Of an image, that may belong to different classes.
PARTS = 1024
#: Logit of a class without a training image: impossible, and still a number.
NEVER = -1e9
_LEAST_SHRINKAGE = 1e-4

Indices = npt.NDArray[np.int64]


def deal(labels: Indices, groups: Sequence[str], seed: int) -> Indices:
    """Return the block of each image: even within every class, and one for all images of a group.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
    groups : sequence of str
        Images of one group show the same object.
    seed : int

    Returns
    -------
    ndarray of shape (n,), int64
        0 to ``BLOCKS - 1``. The fold of a block is its remainder by :data:`FOLDS`.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    counts = np.zeros((int(labels.max(initial=-1)) + 1, BLOCKS), np.int64)
    blocks = np.zeros(len(labels), np.int64)
    for group in sorted(members, key=lambda name: (derive(seed, "audit", name), name)):
        rows = members[group]
        label = int(labels[rows[0]])
        # Classes begin at different blocks, so that small ones do not all fill the same.
        block = (int(np.roll(counts[label], -label).argmin()) + label) % BLOCKS
        blocks[rows] = block
        counts[:, block] += np.bincount(labels[rows], minlength=len(counts))
    return blocks


@dataclass(frozen=True)
class Moments:
    """Exact sums over some images: their number and sum by class, and the sum of all products."""

    counts: Float64
    sums: Float64
    products: Float64

    @classmethod
    def of(
        cls, values: Whole, labels: Indices, n_classes: int, rows: Indices | None = None
    ) -> Self:
        """Return the sums over some images: those of some rows, or all."""
        rows = np.arange(len(values)) if rows is None else rows
        width = values.shape[1]
        counts = np.bincount(labels[rows], minlength=n_classes).astype(np.float64)
        sums, products = np.zeros((n_classes, width)), np.zeros((width, width))
        for places, block in in_blocks(values, rows):
            products += block.T @ block
            chosen = np.zeros((n_classes, len(block)))
            chosen[labels[rows[places]], np.arange(len(block))] = 1.0
            sums += chosen @ block
        return cls(counts, sums, products)

    def relabeled(self, values: Whole, memberships: Float64, rows: Indices) -> Moments:
        """Return the sums over the same images with other classes.

        Parameters
        ----------
        values : ndarray of shape (n, n_features), int16
        memberships : ndarray of shape (n, n_classes), float64
            Multiples of 1 / :data:`PARTS`, so that the sums stay exact.
        rows : ndarray of shape (n_images,), int64
            The images.
        """
        sums = np.zeros(self.sums.shape)
        for places, block in in_blocks(values, rows):
            sums += memberships[rows[places]].T @ block
        return Moments(memberships[rows].sum(axis=0), sums, self.products)

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Self:
        """Return the sums over the images of all parts."""
        counts, sums, products = (np.copy(each) for each in vars(parts[0]).values())
        for part in parts[1:]:
            counts += part.counts
            sums += part.sums
            products += part.products
        return cls(counts, sums, products)


@dataclass(frozen=True)
class Linear:
    """A linear classifier: ``values @ weights + bias`` are the logits of the classes.

    ``squares`` are the squared lengths of the class means and ``precision`` the inverse of the
    covariance, for distances; None for a classifier that needs none.
    """

    weights: Float64
    bias: Float64
    squares: Float64
    precision: Float64 | None = None

    def logits(self, values: Float64) -> Float64:
        """Return the logits, of shape (n, n_classes)."""
        return np.asarray(values @ self.weights + self.bias)

    def distances(self, values: Float64) -> Float64:
        """Return the distance of each image to the nearest class mean, of shape (n,).

        The Mahalanobis distance over the root of the number of features: about 1 for an image like
        those that the classifier was trained on (Lee et al. 2018, "A simple unified framework for
        detecting out-of-distribution samples").
        """
        own = ((values @ self._precision()) * values).sum(axis=1)
        nearest = (self.squares - 2 * values @ self.weights).min(axis=1)
        return np.asarray(np.sqrt(np.maximum(own + nearest, 0.0) / len(self.weights)))

    def whitened(self, values: Whole) -> Float64:
        """Return features whose distances are in units of the spread within the classes."""
        return np.asarray(values.astype(np.float64) @ np.linalg.cholesky(self._precision()))

    def _precision(self) -> Float64:
        if self.precision is None:
            raise ValueError("this classifier was made without distances")
        return self.precision


def discriminant(moments: Moments, *, distances: bool = False) -> Linear:
    """Return the linear discriminant of the images behind some sums."""
    present = moments.counts > 0
    counts, sums = moments.counts[present], moments.sums[present]
    means = sums / counts[:, None]
    covariance = _shrunk(moments.products - sums.T @ means, max(counts.sum() - len(counts), 1.0))
    precision = np.asarray(np.linalg.inv(covariance), np.float64) if distances else None
    solved = np.linalg.solve(covariance, means.T) if precision is None else precision @ means.T
    weights = np.zeros((len(covariance), len(present)))
    bias, squares = np.full(len(present), NEVER), np.full(len(present), -NEVER)
    weights[:, present] = solved
    squares[present] = (means.T * solved).sum(axis=0)
    bias[present] = np.log(counts / counts.sum()) - 0.5 * squares[present]
    return Linear(weights, bias, squares, precision)


def _shrunk(scatter: Float64, freedom: float) -> Float64:
    covariance = scatter / freedom
    width = len(covariance)
    trace = float(np.trace(covariance))
    square = float(np.square(covariance).sum())
    above = (1 - 2 / width) * square + trace**2
    below = (freedom + 1 - 2 / width) * (square - trace**2 / width)
    share = min(1.0, max(above / below if below > 0 else 1.0, _LEAST_SHRINKAGE)) ** (1 / 3)
    # At least one unit of the rounding, for features that do not vary.
    level = max(trace / width, 1.0)
    covariance *= 1 - share
    covariance[np.diag_indices(width)] += share * level
    return covariance


def block_moments(values: Whole, labels: Indices, blocks: Indices, n_classes: int) -> list[Moments]:
    """Return the sums of each block; images beyond those that have a block count for none."""
    return [
        Moments.of(values, labels, n_classes, np.flatnonzero(blocks == block))
        for block in range(BLOCKS)
    ]


def out_of_fold(
    values: Whole, blocks: Indices, parts: Sequence[Moments], *, distances: bool = False
) -> tuple[Float64, Float64]:
    """Return logits and distances of all images by classifiers that did not see them.

    Distances cost an inverse per fold; unless asked for, they are not a number.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    blocks : ndarray of shape (n_known,), int64
        Of the first images. An image is judged by a classifier that saw none of its fold, and the
        images beyond these by one that saw all of these.
    parts : sequence of Moments
        Of each block.
    """
    logits, far = np.empty((len(values), len(parts[0].counts))), np.full(len(values), np.nan)
    folds = np.concatenate([blocks % FOLDS, np.full(len(values) - len(blocks), FOLDS)])
    for fold in range(FOLDS + 1):
        rows = np.flatnonzero(folds == fold)
        others = [part for block, part in enumerate(parts) if block % FOLDS != fold]
        linear = discriminant(Moments.total(others), distances=distances)
        for places, block in in_blocks(values, rows):
            logits[rows[places]] = linear.logits(block)
            if distances:
                far[rows[places]] = linear.distances(block)
    return logits, far


def argmax(logits: Float64) -> npt.NDArray[Any]:
    """Return the class of the largest logit; of logits that nearly agree, the first."""
    return np.asarray(np.round(logits, 6).argmax(axis=1))

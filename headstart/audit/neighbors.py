"""The classes of the nearest images, among at most :data:`REFERENCES`, by the angle of features.

Directions are vectors of whole numbers, so that the products are exact: which images are nearest
does not depend on the CPU. The work grows with the number of images, because the references do not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.audit.moments import Indices
from headstart.audit.vectors import LARGEST_PRODUCT, Whole, directions, products

REFERENCES = 20_000


def neighbor_shares(
    values: Whole, codes: Indices, labels: Indices, n_classes: int, count: int, seed: int
) -> npt.NDArray[np.float32]:
    """Return the share of each class among the nearest of the first images, whose labels count.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    codes : ndarray of shape (n,), int64
        Equal for images that must not be neighbors: those of one split group.
    labels : ndarray of shape (n_known,), int64
    n_classes, count : int
    seed : int
        Draws the references, if there are more images.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
        All images at the distance of the last of the nearest count.
    """
    references = _references(len(labels), seed)
    ours = directions(values[references])
    votes = np.zeros((len(references), n_classes), np.float32)
    votes[np.arange(len(references)), labels[references]] = 1.0
    count = min(count, max(len(references) - 1, 1))
    shares = np.zeros((len(values), n_classes), np.float32)
    for rows, found in products(values, ours):
        found[codes[rows, None] == codes[references]] = -LARGEST_PRODUCT
        last = np.partition(found, -count, axis=1)[:, -count]
        # With few references, the last of the nearest may be one of the image's own group.
        chosen = ((found >= last[:, None]) & (found > -LARGEST_PRODUCT)).astype(np.float32)
        shares[rows] = (chosen @ votes) / np.maximum(chosen.sum(axis=1, keepdims=True), 1.0)
    return shares


def _references(known: int, seed: int) -> Indices:
    if known <= REFERENCES:
        return np.arange(known)
    random = np.random.Generator(np.random.Philox(key=derive(seed, "audit", "references")))
    return np.sort(random.choice(known, REFERENCES, replace=False))

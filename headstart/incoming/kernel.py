"""Do two sets of images lie in the same places of the feature space? A kernel two-sample test.

The maximum mean discrepancy (Gretton et al. 2012, "A kernel two-sample test") compares how alike
images of one set are among themselves with how alike they are to the other set. A few images of an
unknown class are alike among themselves, although no feature differs much on the whole, which is
what a linear classifier would need. Features are whitened first by the covariance within the
training classes, so that what varies in every class counts little. How often chance alone reaches
the discrepancy is counted: sides are drawn again many times.
"""

from __future__ import annotations

import numpy as np

from headstart._utils.seeds import derive
from headstart.audit.moments import Indices, Moments, discriminant
from headstart.audit.vectors import Float64, Whole

#: The smallest p is the inverse of this number plus 1.
DRAWS = 999
_WIDTH = 0.3  # of the kernel, in cosines
_DIGITS = 9


def kernel_p(training: Whole, labels: Indices, known: Whole, new: Whole, seed: int) -> float:
    """Return the probability by chance of the discrepancy between two sets of images.

    Parameters
    ----------
    training : ndarray of shape (n_training, n_features), int16
        Features in standard units.
    labels : ndarray of shape (n_training,), int64
        Class indices.
    known, new : ndarray of shape (n, n_features), int16
        In the units of the training images.
    seed : int

    Returns
    -------
    float
        At least ``1 / (1 + DRAWS)``.
    """
    both = _directions(training, labels, np.concatenate([known, new]))
    kernel = np.exp((both @ both.T - 1) / _WIDTH)
    np.fill_diagonal(kernel, 0.0)
    random = np.random.Generator(np.random.Philox(key=derive(seed, "incoming", "kernel")))
    side = np.repeat([-1 / len(known), 1 / len(new)], [len(known), len(new)])
    sides = np.stack([side, *(random.permutation(side) for _ in range(DRAWS))])
    found = ((sides @ kernel) * sides).sum(axis=1)
    found = np.round(found / np.abs(found).max(), _DIGITS)
    return float((found >= found[0]).sum()) / (1 + DRAWS)


def _directions(training: Whole, labels: Indices, values: Whole) -> Float64:
    """Return directions of the features in units of the spread within the classes."""
    moments = Moments.of(training, labels, int(labels.max()) + 1)
    found = discriminant(moments, distances=True).whitened(values)
    norms = np.sqrt(np.square(found).sum(axis=1, keepdims=True))
    return np.asarray(found / np.maximum(norms, 1e-12))

"""The accuracy of the best of many trials on new images, from the images that chose it.

The best of many is partly the luckiest on the validation images. The bootstrap repeats the choice:
images are drawn with replacement, the trial that is best on the drawn ones is scored on those that
were not drawn, and the scores are averaged (Tsamardinos, Greasidou, Borboudakis, "Bootstrapping the
out-of-sample predictions for efficient and accurate cross-validation", Machine Learning 107, 2018).
Nothing is trained again.

Where the best trials hardly make a mistake on these images, most drawings have none at all, and
their scores say nothing about how many mistakes other images may bring. Therefore the interval is
never narrower than Wilson's for this accuracy on so many images.

A search that proposes trials by the results of others fits them to the images that it sees. It sees
a part of the images only, and the others alone score the choices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.evaluation.metrics import wilson_interval

_ROUNDS = 1000
_TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """The expected accuracy of the chosen trial on new images.

    Attributes
    ----------
    accuracy : float
    low, high : float
        Ends of the 95 % interval.
    apparent : float
        The accuracy on the images that chose it, which is too good.
    """

    accuracy: float
    low: float
    high: float
    apparent: float


def without_optimism(
    right: npt.NDArray[np.bool_], seed: int, fresh: npt.NDArray[np.bool_] | None = None
) -> Estimate:
    """Return the accuracy that the choice of the best trial leads to.

    Parameters
    ----------
    right : ndarray of shape (n_trials, n_images)
        Which images each trial classifies correctly; no trial has learned from any of them.
    seed : int
        Of the bootstrap.
    fresh : ndarray of shape (n_images,), bool, optional
        The images that score a choice: where others have decided which trials there are, they would
        flatter all of them. Default: all images.
    """
    count = right.shape[1]
    fresh = np.ones(count, np.bool_) if fresh is None else fresh
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "sweep", "bootstrap")))
    drawn = generator.multinomial(count, np.full(count, 1 / count), _ROUNDS)
    left_out = (drawn == 0) & fresh
    drawn, left_out = (part[left_out.any(axis=1)] for part in (drawn, left_out))
    votes = right.T.astype(np.float64)
    inside = drawn.astype(np.float64) @ votes
    outside = left_out.astype(np.float64) @ votes / left_out.sum(axis=1, keepdims=True)
    # Of trials that are equally good, any may be taken.
    best = inside == inside.max(axis=1, keepdims=True)
    scores = (outside * best).sum(axis=1) / best.sum(axis=1)
    apparent = float(right.mean(axis=1).max())
    if not len(scores):  # no image is left out
        return Estimate(apparent, 0.0, 1.0, apparent)
    accuracy, scoring = float(scores.mean()), int(fresh.sum())
    spread, counted = np.percentile(scores, _TAILS), wilson_interval(accuracy * scoring, scoring)
    low, high = min(spread[0], counted[0]), max(spread[1], counted[1])
    return Estimate(accuracy, float(low), float(high), apparent)

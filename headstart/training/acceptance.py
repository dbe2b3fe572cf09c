"""The choice between a fine-tuned model and the head alone, by a paired test on validation images.

Both models are compared by the loss that also stops the training and chooses its epoch: the mean
log loss of the validation images, with the temperature that the models are delivered with. It is a
proper score, and every image tells something, while accuracy only changes with the few images
whose first guess changes.

Among few images, none may happen to be a mistake, and the most confident model then seems best,
however dear its mistakes on other images are. So a small share of each image, :func:`doubt_of`,
counts as if its label were the second guess: as if there had been one more mistake (Platt 1999,
"Probabilistic Outputs for Support Vector Machines", uses such targets).

The test flips the sign of each image's difference at random, as if the two models had changed
places, and asks how often that gives a lower loss than the one that was seen. Of several trials,
the lowest of each flip counts, because the best of many is partly the luckiest (Westfall and Young
1993, "Resampling-based multiple testing"). Images of a split group are flipped together, because
they show the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.training.model_folder import Scores

_FLIPS = 9_999
#: The fine-tuned model is kept if a lower loss by luck alone is at most so probable.
LEVEL = 0.1
#: Groups whose signs are drawn at once: 20 MB of them.
_GROUPS_AT_ONCE = 256
#: Digits of a difference: those beyond are noise of the machine's arithmetic.
_DIGITS = 9
#: Drawings that differ from what was seen by less, show the same.
_TIE = 1e-9

Floats = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """The loss of the fine-tuned model, minus that of the head, per image.

    Attributes
    ----------
    difference : float
        Mean over the validation images; below 0 if the fine-tuned model is better.
    low, high : float
        Its interval, of which each side is wrong with a probability of :data:`LEVEL`; infinite with
        so few images that no difference is certain.
    p : float
        Of a loss as low as this, or lower, if no trial were better than the head.
    images : int
    """

    difference: float
    low: float
    high: float
    p: float
    images: int

    @property
    def accepted(self) -> bool:
        """True if the fine-tuned model is better, and that is probably not chance."""
        return self.p <= LEVEL

    def recorded(self) -> dict[str, float | int | None]:
        """Return it for the run statistics; an end that is infinite is None."""
        low, high = (end if np.isfinite(end) else None for end in (self.low, self.high))
        return {
            "loss_difference": self.difference,
            "loss_difference_low": low,
            "loss_difference_high": high,
            "loss_difference_p": self.p,
        }

    def __str__(self) -> str:
        return (
            f"{self.difference:+.4f} per image, {100 - 200 * LEVEL:.0f} % interval "
            f"{self.low:+.4f} to {self.high:+.4f}, p {self.p:.4f}, {self.images:,} images"
        )


def doubt_of(images: int) -> float:
    """Return the share of each of so many validation images that counts as a mistake."""
    return 1 / (images + 2)


def compare(
    trials: Sequence[Floats], alone: Floats, groups: npt.ArrayLike, seed: int
) -> Comparison:
    """Compare the best of some models with another one on the same images.

    Parameters
    ----------
    trials : sequence of ndarray of shape (n,), float64
        Loss of each validation image by each fine-tuned model; the best has the lowest sum.
    alone : ndarray of shape (n,), float64
        The same by the head.
    groups : array_like of shape (n,)
        The split group of each image.
    seed : int
        Of the random signs.

    References
    ----------
    E. J. G. Pitman (1937), Significance tests which may be applied to samples from any
    populations. Supplement to the Journal of the Royal Statistical Society 4, 119-130.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    count = len(alone)
    sums = np.stack([np.bincount(group, each - alone) for each in trials], axis=1) / count
    differences = sums.sum(axis=0)
    best = int(differences.argmin())
    flipped, signs = _flipped(sums, np.bincount(group) / count, seed)
    # In units that no flip changes, or the least certain trial would decide about all.
    size = np.sqrt((sums**2).sum(axis=0))
    size[size == 0] = 1
    lowest = (flipped / size).min(axis=1)
    p = (1 + int(np.sum(lowest <= differences[best] / size[best] + _TIE))) / (1 + _FLIPS)
    low, high = _interval(float(differences[best]), flipped[:, best], signs)
    return Comparison(
        difference=round(float(differences[best]), _DIGITS), low=low, high=high, p=p, images=count
    )


def reason(found: Comparison, tuned: Scores, head: Scores, best: int, epochs: int) -> str:
    """Return a sentence with the figures that decided the choice.

    Parameters
    ----------
    found : Comparison
    tuned, head : Scores
        Of the fine-tuned model and of the head alone, on the validation split.
    best, epochs : int
        The epoch whose weights were taken, and how many were run.
    """
    if found.accepted:
        what = "fine-tuning lowered the validation loss, probably not by chance"
    elif found.difference < 0:
        what = "the head is kept, because the lower validation loss may be chance"
    else:
        what = "the head is kept, because fine-tuning did not lower the validation loss"
    return (
        f"{what}: {head.loss:.4f} -> {tuned.loss:.4f} ({found}), accuracy {head.accuracy:.4f} -> "
        f"{tuned.accuracy:.4f} (epoch {best} of {epochs})"
    )


def _flipped(sums: Floats, shares: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return, for each drawing of signs, the mean differences with them, and the mean sign.

    ``sums``: of shape (groups, trials). The first of the two has the shape (drawings, trials).
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    means, signs_mean = np.zeros((_FLIPS, sums.shape[1])), np.zeros(_FLIPS)
    for start in range(0, len(sums), _GROUPS_AT_ONCE):
        part = slice(start, start + _GROUPS_AT_ONCE)
        drawn = generator.integers(0, 2, (_FLIPS, len(sums[part])), dtype=np.int8)
        signs = 2.0 * drawn - 1.0
        means += signs @ sums[part]
        signs_mean += signs @ shares[part]
    return means, signs_mean


def _interval(difference: float, flipped: Floats, signs: Floats) -> tuple[float, float]:
    """Return between which true differences what was seen is not extreme.

    If the true difference were δ, a drawing would show ``flipped - δ * sign`` where the images show
    ``difference - δ``. The two are equal at one δ, and the drawing is the more extreme one on the
    side of it that the images lie on.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        equal = (difference - flipped) / (1 - signs)
    # No sign flipped: as extreme as what was seen, whatever the true difference.
    unflipped = np.isclose(signs, 1)
    place = int(LEVEL * (1 + _FLIPS)) - 1
    low = np.sort(np.where(unflipped, -np.inf, equal))[place]
    high = np.sort(np.where(unflipped, np.inf, equal))[-1 - place]
    return round(float(low), _DIGITS) + 0.0, round(float(high), _DIGITS) + 0.0

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
places. The 95 % interval holds the differences that the same test does not reject, so that interval
and p-value never contradict each other. Images of a split group are flipped together, because they
show the same object.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.training.model_folder import Scores

_FLIPS = 9_999
_LEVEL = 0.05
#: Groups whose signs are drawn at once: 20 MB of them.
_GROUPS_AT_ONCE = 256
#: Digits of a difference: those beyond are noise of the machine's arithmetic.
_DIGITS = 9

Floats = npt.NDArray[np.float64]


class Comparison(NamedTuple):
    """The loss of the fine-tuned model, minus that of the head, per image.

    Attributes
    ----------
    difference : float
        Mean over the validation images; below 0 if the fine-tuned model is better.
    low, high : float
        Its 95 % interval; infinite with fewer than six groups, of which no difference is certain.
    p : float
        Two-sided: of a difference as large as this, either way, if both were equally good.
    images : int
    """

    difference: float
    low: float
    high: float
    p: float
    images: int

    @property
    def accepted(self) -> bool:
        """True if the fine-tuned model is better, and that is not chance."""
        return self.high < 0

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
            f"{self.difference:+.4f} per image, 95 % interval {self.low:+.4f} to {self.high:+.4f}, "
            f"p {self.p:.4f}, {self.images:,} images"
        )


def doubt_of(images: int) -> float:
    """Return the share of each of so many validation images that counts as a mistake."""
    return 1 / (images + 2)


def compare(tuned: Floats, alone: Floats, groups: npt.ArrayLike, seed: int) -> Comparison:
    """Compare the losses of two models on the same images.

    Parameters
    ----------
    tuned, alone : ndarray of shape (n,), float64
        Loss of each validation image by the fine-tuned model and by the head.
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
    differences = tuned - alone
    sums = np.bincount(group, differences) / len(differences)
    shares = np.bincount(group) / len(differences)
    difference = float(differences.mean())
    low, high = _borders(difference, *_flipped(sums, shares, seed))
    tie = 10.0**-_DIGITS
    p = (1 + int(np.sum((low <= tie) & (high >= -tie)))) / (1 + _FLIPS)
    # The interval's ends are the differences at which p, as above, falls to the level.
    place = int(_LEVEL * (1 + _FLIPS)) - 1
    return Comparison(
        difference=round(difference, _DIGITS),
        low=round(float(np.sort(low)[place]), _DIGITS) + 0.0,
        high=round(float(np.sort(high)[-1 - place]), _DIGITS) + 0.0,
        p=p,
        images=len(differences),
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
        what = "fine-tuning lowered the validation loss beyond chance"
    elif found.difference < 0:
        what = "the head is kept, because the lower validation loss may be chance"
    else:
        what = "the head is kept, because fine-tuning did not lower the validation loss"
    return (
        f"{what}: {head.loss:.4f} -> {tuned.loss:.4f} ({found}), accuracy {head.accuracy:.4f} -> "
        f"{tuned.accuracy:.4f} (epoch {best} of {epochs})"
    )


def _flipped(sums: Floats, shares: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return, for each drawing of signs, the mean difference with them, and the mean sign."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    means, signs_mean = np.zeros(_FLIPS), np.zeros(_FLIPS)
    for start in range(0, len(sums), _GROUPS_AT_ONCE):
        part = slice(start, start + _GROUPS_AT_ONCE)
        drawn = generator.integers(0, 2, (_FLIPS, len(sums[part])), dtype=np.int8)
        signs = 2.0 * drawn - 1.0
        means += signs @ sums[part]
        signs_mean += signs @ shares[part]
    return means, signs_mean


def _borders(difference: float, means: Floats, signs: Floats) -> tuple[Floats, Floats]:
    """Return, for each drawing, between which true differences it is as extreme as what was seen.

    If the true difference were δ, the drawing would show ``mean - δ * sign`` where the images show
    ``difference - δ``. The first is the larger in size between the two δ at which they are equal.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (difference - means) / (1 - signs), (difference + means) / (1 + signs)
    # All signs alike: as extreme as what was seen, whatever the true difference.
    alike = np.isclose(np.abs(signs), 1)
    low, high = np.minimum(one, other), np.maximum(one, other)
    return np.where(alike, -np.inf, low), np.where(alike, np.inf, high)

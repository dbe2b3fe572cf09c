"""From probabilities to what is said of an image: the likeliest classes, if likely enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of an image.

    Attributes
    ----------
    guesses : tuple of Guess
        The likeliest classes, the likeliest first.
    sure : bool
        Whether the first one reaches the threshold.
    """

    guesses: tuple[Guess, ...]
    sure: bool

    @property
    def label(self) -> str | None:
        """The likeliest class; None where it does not reach the threshold."""
        return self.guesses[0].label if self.sure else None

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.guesses[0].probability


def answer(row: Floats, classes: Sequence[str], top: int, threshold: float = 0.0) -> Answer:
    """The ``top`` likeliest classes of a row of probabilities; of equal ones, the first by name.

    Parameters
    ----------
    row : ndarray of shape (n_classes,), float32
    classes : sequence of str
    top : int
        At least 1; more than there are classes: all.
    threshold : float
        Least probability of a first guess that is believed.
    """
    order = np.argsort(-row, kind="stable")[:top]
    guesses = tuple(Guess(classes[int(place)], shortest(row[place])) for place in order)
    return Answer(guesses, bool(row[order[0]] >= np.float32(threshold)))


def shortest(value: np.float32) -> float:
    """The double whose text is the shortest that reads back as this float32."""
    return float(str(value))

"""The choice of a backbone by its validation score, within budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.backbones.record import BackboneRecord
from headstart.evaluation.comparison import McNemar, mcnemar
from headstart.evaluation.metrics import wilson_interval
from headstart.features.extraction import Passes
from headstart.selection.candidates import Candidate

Right = npt.NDArray[np.bool_]
#: Beyond this probability, a difference may well be chance.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """Correct guesses on some images, and their 95 % interval."""

    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return wilson_interval(self.correct, self.images)

    def values(self) -> dict[str, Any]:
        """Return the score for programs."""
        low, high = self.interval
        return {
            "correct": self.correct,
            "images": self.images,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
        }


@dataclass(frozen=True, eq=False)
class Scores:
    """The images of a split that each of the two probes classifies correctly."""

    linear_right: Right
    nearest_right: Right

    @property
    def linear(self) -> Score:
        """Score of the linear probe."""
        return _score(self.linear_right)

    @property
    def nearest(self) -> Score:
        """Score of the nearest neighbors."""
        return _score(self.nearest_right)


@dataclass(frozen=True, eq=False)
class Measured:
    """A backbone and its measurements.

    Attributes
    ----------
    candidate : Candidate
    record : BackboneRecord
    passes : Passes
        Of this comparison.
    validation : Scores
    milliseconds : float
        Median time of a forward pass, without decoding.
    megabytes : float
        Size of the network's file.
    test : Scores or None
        None unless it is to be shown.
    """

    candidate: Candidate
    record: BackboneRecord
    passes: Passes
    validation: Scores
    milliseconds: float
    megabytes: float
    test: Scores | None = None


@dataclass(frozen=True)
class Budget:
    """The upper limits of a backbone's cost; None: no limit."""

    milliseconds: float | None = None
    megabytes: float | None = None

    def allows(self, one: Measured) -> bool:
        """Return whether a backbone keeps within both."""
        spent = (one.milliseconds, self.milliseconds), (one.megabytes, self.megabytes)
        return all(most is None or used <= most for used, most in spent)

    def __str__(self) -> str:
        given = (self.milliseconds, "ms per image"), (self.megabytes, "MB")
        return " and ".join(f"{most:g} {unit}" for most, unit in given if most is not None)


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen backbone among all that were measured.

    Attributes
    ----------
    measured : sequence of Measured
    budget : Budget
    best : Measured
        The highest validation accuracy, whatever it costs.
    chosen : Measured or None
        The same among those within the budget; None if there is none.
    """

    measured: Sequence[Measured]
    budget: Budget
    best: Measured
    chosen: Measured | None

    def against_best(self, one: Measured) -> McNemar | None:
        """Return McNemar's test of the best against another one; None for the best itself."""
        if one is self.best:
            return None
        best, other = (each.validation.linear_right for each in (self.best, one))
        return mcnemar(int((best & ~other).sum()), int((other & ~best).sum()))

    def frugal(self) -> Measured | None:
        """Return the fastest within the budget that is not significantly behind the chosen one.

        None if that is the chosen one itself.
        """
        if self.chosen is None:
            return None
        ours = self.chosen.validation.linear_right

        def is_close(one: Measured) -> bool:
            theirs = one.validation.linear_right
            test = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
            return test.p >= SIGNIFICANT

        close = [one for one in self.measured if self.budget.allows(one) and is_close(one)]
        fastest = min(close, key=lambda one: one.milliseconds)
        return None if fastest is self.chosen else fastest


def choose(measured: Sequence[Measured], budget: Budget) -> Choice:
    """Choose by the linear probe's validation accuracy; of equal ones, the smaller file.

    The test split has no part in it.
    """
    best = _best(measured)
    within = [one for one in measured if budget.allows(one)]
    return Choice(measured, budget, best, _best(within) if within else None)


def _best(measured: Sequence[Measured]) -> Measured:
    return min(measured, key=lambda one: (-one.validation.linear.correct, one.megabytes))


def _score(right: Right) -> Score:
    return Score(int(right.sum()), len(right))

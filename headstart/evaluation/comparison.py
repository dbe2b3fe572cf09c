"""Two models on the same images: who is right where the other is wrong, and whether by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

# Beyond so many discordant pairs the exact sum takes seconds, and the normal law is as good.
_EXACT = 20_000


@dataclass(frozen=True)
class McNemar:
    """Chances of the discordant pairs, if both models were right equally often.

    Attributes
    ----------
    p : float
        Two-sided: of a difference as large as this or larger, either way.
    p_worse : float
        One-sided: of the second being behind by this much or more.
    exact : bool
        Whether they are sums of binomial coefficients, or of the normal law.
    """

    p: float
    p_worse: float
    exact: bool


@dataclass(frozen=True)
class Paired:
    """Counts of the images that both test sets share, with the test on them.

    Attributes
    ----------
    first, second : int
        Images in each test set, each counted once, however many copies there are.
    both, first_only, second_only, neither : int
        Shared images by who is right.
    test : McNemar
    """

    first: int
    second: int
    both: int
    first_only: int
    second_only: int
    neither: int
    test: McNemar

    @property
    def shared(self) -> int:
        """Images that both were tested on, under the same label."""
        return self.both + self.first_only + self.second_only + self.neither


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """McNemar's test of two counts of discordant pairs, in its exact form up to 20,000 of them.

    Parameters
    ----------
    first_only, second_only : int
        Images that only the first, or only the second, is right about.

    References
    ----------
    Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions
    or percentages. Psychometrika 12, 153-157. The exact form is the sign test of the pairs; the
    other one has the correction for continuity of A. L. Edwards (1948), Psychometrika 13, 185-187.
    """
    n, fewer = first_only + second_only, min(first_only, second_only)
    if n > _EXACT:
        away = (abs(first_only - second_only) - 1) / math.sqrt(n)
        # Of first_only itself or more: half a pair below it, as the law is of whole pairs.
        behind = (first_only - second_only - 1) / math.sqrt(n)
        return McNemar(_beyond(max(0.0, away)) * 2, _beyond(behind), exact=False)
    below = [_at_most(fewer, n), _at_most(second_only, n)]
    return McNemar(float(min(Fraction(1), 2 * below[0])), float(below[1]), exact=True)


def _beyond(z: float) -> float:
    """Chance that a standard normal number is larger than z."""
    return math.erfc(z / math.sqrt(2)) / 2


def _at_most(k: int, n: int) -> Fraction:
    """Chance of at most k heads in n throws of a coin."""
    if 2 * k > n:  # The shorter sum.
        return 1 - _at_most(n - k - 1, n) if k < n else Fraction(1)
    term = total = 1
    for i in range(k):
        term = term * (n - i) // (i + 1)
        total += term
    return Fraction(total, 2**n)


def paired(first: pd.DataFrame, second: pd.DataFrame) -> Paired:
    """Lay two sets of predictions over one another.

    Parameters
    ----------
    first, second : DataFrame
        ``image_id``, ``label`` and ``predicted``, a row a test image. An image counts once for
        each label that it stands under; what only one of the two was tested on does not count.
    """
    keys = ["image_id", "label"]
    one, two = (frame[[*keys, "predicted"]].drop_duplicates(keys) for frame in (first, second))
    both = one.merge(two, on=keys, suffixes=("_first", "_second"))
    right = [both[f"predicted_{side}"] == both["label"] for side in ("first", "second")]
    counts = [
        int((a & b).sum())
        for a, b in ((right[0], right[1]), (right[0], ~right[1]), (~right[0], right[1]))
    ]
    return Paired(
        first=len(one),
        second=len(two),
        both=counts[0],
        first_only=counts[1],
        second_only=counts[2],
        neither=len(both) - sum(counts),
        test=mcnemar(counts[1], counts[2]),
    )


def p_text(p: float) -> str:
    """A chance for people: three places, or the power of ten where these would be zeros."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"

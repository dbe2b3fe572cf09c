"""How sure a difference of two accuracies is, if both were measured on the same images."""

from __future__ import annotations

import math

from headstart.evaluation.metrics import wilson_interval


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int
) -> tuple[float, float, float]:
    """The first accuracy less the second, and its 95 % confidence interval.

    Parameters
    ----------
    both, first_only, second_only, neither : int
        Images by who is right; at least one in all.

    Returns
    -------
    difference, low, high : float
        Each from -1 to 1.

    References
    ----------
    R. G. Newcombe (1998), Improved confidence intervals for the difference between binomial
    proportions based on paired data. Statistics in Medicine 17, 2635-2650, method 10: of Wilson's
    intervals, with the correlation of the pairs, corrected for continuity.
    """
    n = both + first_only + second_only + neither
    right = both + first_only, both + second_only
    (p1, p2), ((low1, high1), (low2, high2)) = (
        [count / n for count in right],
        [wilson_interval(count, n) for count in right],
    )
    phi = _correlation(both, first_only, second_only, neither)
    difference = (first_only - second_only) / n
    below = _square_and_add(p1 - low1, high2 - p2, phi)
    above = _square_and_add(high1 - p1, p2 - low2, phi)
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def _square_and_add(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _correlation(both: int, first_only: int, second_only: int, neither: int) -> float:
    n = both + first_only + second_only + neither
    margins = (
        (both + first_only)
        * (second_only + neither)
        * (both + second_only)
        * (first_only + neither)
    )
    if not margins:  # one of the two is right about all, or about none
        return 0.0
    apart = both * neither - first_only * second_only
    if apart > 0:
        apart = max(0, 2 * apart - n) / 2  # type: ignore[assignment]  # a half
    return apart / math.sqrt(margins)

"""Forecasts of the error with more training images: a power law whose limit is unknown.

``error(m) = E * (f + (1 - f) * (m / M) ** -c)``: E is the error at the largest measured size M, f
the share of it that no number of images removes, and c the exponent. A fit of the three by least
squares is too optimistic: a small f fits nearly as well as a large one. So all of them are weighed
by how well they fit, on a grid, and a band holds 90 % of their weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.audit.learning_curve import Curve
from headstart.audit.vectors import Float64

BAND = 0.9
_LIMITS = np.linspace(0.0, 0.975, 40)
_EXPONENTS = np.linspace(0.025, 1.5, 60)
#: Standard deviation of log errors about the best power law, beyond the noise of their measurement;
#: and of a forecast, for each doubling beyond the largest size.
_MISFIT, _MISFIT_PER_DOUBLING = 0.03, 0.06
#: Share of the noise from the test images that differs between two sizes: the images are the same.
_OWN_NOISE = 0.4
_NORMAL = 1.6449  # the quantile of a normal distribution that leaves 5 % above
_QUANTILES = (0.5, (1 - BAND) / 2, (1 + BAND) / 2)


@dataclass(frozen=True)
class Band:
    """An error with the two ends of its band."""

    error: float
    low: float
    high: float


def forecast(curve: Curve, sizes: Sequence[float]) -> list[Band]:
    """Forecast the error at some numbers of training images, from a curve of two points or more."""
    logs, spread, sampled = _log_errors(curve)
    limits, exponents = (axis.ravel() for axis in np.meshgrid(_LIMITS, _EXPONENTS))

    def shape(images: npt.ArrayLike) -> Float64:
        """Return the log error relative to E by image number (rows) and power law (columns)."""
        ratio = np.atleast_1d(np.asarray(images, np.float64))[:, None] / curve.images[-1]
        return np.asarray(np.log(limits + (1 - limits) * ratio**-exponents))

    certainty = 1 / spread**2
    residuals = logs[:, None] - shape(curve.images)
    level = certainty @ residuals / certainty.sum()
    misfit = certainty @ np.square(residuals - level)
    weights = np.exp(-0.5 * (misfit - misfit.min()))
    found = []
    for size, relative in zip(sizes, shape(sizes), strict=True):
        doublings = max(float(np.log2(size / curve.images[-1])), 0.0)
        noise = np.sqrt(1 / certainty.sum() + sampled**2 + (_MISFIT_PER_DOUBLING * doublings) ** 2)
        middle, low, high = _quantiles(level + relative, weights / weights.sum(), noise)
        error, least, most = (min(float(np.exp(log)), 1.0) for log in (middle, low, high))
        found.append(_rounded(error, least, most, curve.tested))
    return found


def _rounded(error: float, low: float, high: float, tested: int) -> Band:
    """Return a band that begins at 0 if its lower end is less than half an error."""
    return Band(round(error, 4), round(low, 4) if low * tested >= 0.5 else 0.0, round(high, 4))


def measured_bands(curve: Curve) -> list[Band]:
    """Return the measured errors with the bands of their own noise."""
    logs, spread, sampled = _log_errors(curve)
    noise = np.sqrt(spread**2 + sampled**2)
    ends = [np.exp(np.minimum(logs + side * noise, 0.0)) for side in (-_NORMAL, _NORMAL)]
    return [
        _rounded(float(error), float(low), float(high), curve.tested)
        for error, low, high in zip(curve.errors, *ends, strict=True)
    ]


def _log_errors(curve: Curve) -> tuple[Float64, Float64, float]:
    """Return the log errors, their own noise, and the noise that is common to all of them."""
    # Half an error more: the logarithm of none is no number.
    errors = (curve.errors * curve.tested + 0.5) / (curve.tested + 1.0)
    binomial = np.sqrt((1 - errors) / (errors * curve.tested))
    drawn = np.nan_to_num(curve.spread / errors, nan=0.0)
    drawn = np.where(np.isnan(curve.spread), np.append([0.0], drawn)[:-1], drawn)
    own = np.sqrt(_MISFIT**2 + drawn**2 + _OWN_NOISE * binomial**2)
    return np.log(errors), own, float(np.sqrt(1 - _OWN_NOISE) * binomial[-1])


def _quantiles(means: Float64, weights: Float64, noise: float) -> Float64:
    """Return quantiles of a mixture of normal distributions of one standard deviation."""
    grid = np.linspace(means.min() - 4 * noise, means.max() + 4 * noise, 801)
    order = np.argsort(means, kind="stable")
    # Sorted and binned to the grid, so that the mixture costs one row per grid point.
    counts, edges = np.histogram(means[order], bins=400, weights=weights[order])
    centers = (edges[:-1] + edges[1:]) / 2
    below = (_normal((grid[:, None] - centers) / noise) * counts).sum(axis=1)
    return np.interp(_QUANTILES, below, grid)


def _normal(values: Float64) -> Float64:
    """Return the distribution function of the normal distribution, to 7 digits.

    Abramowitz and Stegun (1964), 26.2.17.
    """
    t = 1 / (1 + 0.2316419 * np.abs(values))
    terms = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = sum(factor * t ** (power + 1) for power, factor in enumerate(terms))
    tail = tail * np.exp(-0.5 * values**2) / np.sqrt(2 * np.pi)
    return np.asarray(np.where(values > 0, 1 - tail, tail))

"""Matrix products and exponentials whose bits depend on their operands alone.

A BLAS adds in the order that suits the processor and its number of threads, and each order rounds
differently. Here the operands are rounded beforehand, to multiples of a power of two that lies 21
bits below the largest value. Every product and every partial sum of 2,048 products is then a whole
number of units of at most 53 bits, which float64 holds exactly, so that the order does not matter.
The loss of precision is about that of float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

_BITS = 21
#: Products that may be added: 2 × 21 bits each, of the 53 that float64 has.
_INNER = 2 ** (53 - 2 * _BITS)
#: Below, the unit would not be a normal number.
_LEAST_EXPONENT = -900

_LOG2 = math.log(2.0)
#: The logarithm of 2 in two parts: a product of the first and a small whole number is exact.
_LOG2_HIGH, _LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
#: Of the series of e^x, highest first: enough for |x| ≤ log(2) / 2.
_SERIES = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
_LEAST = -700.0  # e to that power is still a normal number


def on_grid(values: npt.NDArray[np.floating[Any]], largest: float | None = None) -> Float64:
    """Return values rounded to a grid of 21 bits below the largest, for :func:`product`.

    ``largest``: an upper bound of the absolute values, where they share a grid with others.
    """
    if largest is None:
        largest = size(values)
    exponent = max(math.frexp(largest)[1], _LEAST_EXPONENT) - _BITS
    scaled = values.astype(np.float64)
    scaled *= 2.0**-exponent
    np.rint(scaled, out=scaled)
    scaled *= 2.0**exponent
    return scaled


def size(values: npt.NDArray[np.floating[Any]]) -> float:
    """Return the largest absolute value."""
    return float(np.abs(values).max(initial=0.0))


def product(a: Float64, b: Float64) -> Float64:
    """Return the matrix product of two matrices that :func:`on_grid` made."""
    total: Float64 = a[:, :_INNER] @ b[:_INNER]
    for start in range(_INNER, len(b), _INNER):
        total += a[:, start : start + _INNER] @ b[start : start + _INNER]
    return total


def exp(x: Float64) -> Float64:
    """Return e to the power of numbers that are not positive, by additions and products alone.

    NumPy's own depends on the vector units of the processor in its last bit.
    """
    x = np.maximum(x, _LEAST)
    n = np.rint(x * (1.0 / _LOG2))
    r = x - n * _LOG2_HIGH - n * _LOG2_LOW
    found = np.full_like(r, _SERIES[0])
    for coefficient in _SERIES[1:]:
        found *= r
        found += coefficient
    return np.asarray(np.ldexp(found, n.astype(np.int32)), np.float64)

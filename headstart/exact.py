"""Arithmetic whose bits depend on its operands alone, on every processor.

A BLAS adds in the order that suits the processor and its number of threads, and each order rounds
differently. Before :func:`product`, :func:`on_grid` rounds the operands to multiples of a power of
two that lies 21 bits below the largest value. Every product and every partial sum of 2,048 products
is then a whole number of units of at most 53 bits, which float64 holds exactly, so that the order
does not matter. The loss of precision is about that of float32.

NumPy computes ``exp`` and ``log`` with the vector units of the processor, whose last bits differ.
:func:`exp`, :func:`log` and :func:`log1p` consist of additions, products and divisions, which IEEE
754 rounds in one way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
_EXP = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
#: Of artanh(s) / s by s², highest first: enough for 1 / sqrt(2) ≤ m ≤ sqrt(2), s = (m-1) / (m+1).
_ARTANH = [1.0 / (2 * n + 1) for n in range(11, -1, -1)]
_SQRT_HALF = 0.7071067811865476
_MOST = 700.0  # e to that power, and to its opposite, is still a normal number
#: Values whose exponentials are computed at once: intermediate results stay in a small cache.
_AT_ONCE = 1 << 13


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


def exp(x: npt.ArrayLike) -> Float64:
    """Return e to the power of numbers, to the last bit or two.

    Numbers beyond ±700 count as ±700, so that every result is a normal number.
    """
    x = np.asarray(x, np.float64)
    values, found = x.reshape(-1), np.empty(x.size)
    for start in range(0, x.size, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _exp(values[part], found[part])
    return found.reshape(x.shape)


def _exp(x: Float64, found: Float64) -> None:
    """Write e to the power of a vector into another one."""
    x = np.maximum(x, -_MOST)
    np.minimum(x, _MOST, out=x)
    n = x * (1.0 / _LOG2)
    np.rint(n, out=n)
    # x - n * _LOG2_HIGH - n * _LOG2_LOW
    x -= np.multiply(n, _LOG2_HIGH, out=found)
    x -= np.multiply(n, _LOG2_LOW, out=found)
    with np.errstate(invalid="ignore"):  # What is not a number stays so.
        power = n.astype(np.int32)
    np.ldexp(_polynomial(_EXP, x), power, out=found)


def log(x: npt.ArrayLike) -> Float64:
    """Return the natural logarithm of positive, finite numbers, to the last bit or two."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    low = mantissa < _SQRT_HALF
    mantissa, n = np.where(low, 2.0 * mantissa, mantissa), exponent - low
    # log(m) = 2 artanh(s), and s is small because m is close to 1.
    s = (mantissa - 1.0) / (mantissa + 1.0)
    rest = 2.0 * s * _polynomial(_ARTANH, s * s)
    return np.asarray(n * _LOG2_HIGH + (rest + n * _LOG2_LOW))


def log1p(x: npt.ArrayLike) -> Float64:
    """Return the natural logarithm of 1 + x for finite x > -1; precise where x is tiny."""
    x = np.asarray(x, np.float64)
    one_more = 1.0 + x
    return np.asarray(log(one_more) + (x - (one_more - 1.0)) / one_more)


def _polynomial(coefficients: Sequence[float], x: Float64) -> Float64:
    found = x * coefficients[0]
    found += coefficients[1]
    for coefficient in coefficients[2:]:
        found *= x
        found += coefficient
    return found

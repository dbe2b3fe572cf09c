"""Align two images of one scene by their pixels, and measure the agreement of their detail.

An affine map covers what happens to copies: crops, scales, turns and shears. It is found by
efficient second-order minimization (Benhimane and Malis, 2004), which compares a thumbnail with the
other one, warped, and needs one warp per step. Brightness and contrast are matched in every step.

All sums are sums of integers below 2⁵³, and all else is arithmetic on single numbers, so the result
is the same bits on every CPU and with every BLAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Thumbnails = npt.NDArray[np.uint8]

#: The identity, as (a, b, c, d, e, f) of x' = a x + b y + c, y' = d x + e y + f, with x and y
#: from −1 to 1 over the thumbnail.
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_LEVELS = 16.0  # steps of a gray level in sums of integers
_DAMPING = 1e-3
_MOST_STEP = 0.15
_LEAST_COMMON = 0.3  # share of the thumbnail; less cannot be aligned


def shrink(images: npt.NDArray[Any], factor: int) -> Floats:
    """Return the means of squares of ``factor`` pixels, exact.

    Parameters
    ----------
    images : ndarray of shape (n, side, side)
    factor : int
        A power of two.
    """
    count, side = images.shape[0], images.shape[1] // factor
    blocks = images.reshape(count, side, factor, side, factor).astype(np.float64)
    return np.asarray(blocks.sum(axis=(2, 4)) / (factor * factor), dtype=np.float64)


def grid(side: int) -> tuple[Floats, Floats]:
    """Return x and y of the centers of pixels, row by row."""
    line = (2 * np.arange(side) + 1) / side - 1
    return np.tile(line, side), np.repeat(line, side)


def warp(images: Floats, maps: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return each image where its map sends every pixel, and which pixels lie inside.

    Parameters
    ----------
    images : ndarray of shape (n, side, side)
    maps : ndarray of shape (n, 6)

    Returns
    -------
    values : ndarray of shape (n, side * side)
        In steps of 1/16 gray level.
    inside : ndarray of shape (n, side * side), bool
    """
    count, side = images.shape[:2]
    x, y = grid(side)
    a, b, c, d, e, f = (maps[:, i : i + 1] for i in range(6))
    column = ((a * x + b * y + c) + 1) * (side / 2) - 0.5
    row = ((d * x + e * y + f) + 1) * (side / 2) - 0.5
    inside = (column >= 0) & (column <= side - 1) & (row >= 0) & (row <= side - 1)
    column, row = np.clip(column, 0, side - 1), np.clip(row, 0, side - 1)
    left = np.minimum(column.astype(np.intp), side - 2)
    top = np.minimum(row.astype(np.intp), side - 2)
    right_share, low_share = column - left, row - top
    flat = images.reshape(-1)
    start = top * side + left + (np.arange(count) * side * side)[:, None]
    upper = flat.take(start) * (1 - right_share) + flat.take(start + 1) * right_share
    start += side
    lower = flat.take(start) * (1 - right_share) + flat.take(start + 1) * right_share
    values = upper * (1 - low_share) + lower * low_share
    return np.rint(values * _LEVELS) / _LEVELS, inside


def align(first: Floats, second: Floats, maps: Floats, steps: int) -> Floats:
    """Return the maps from pixels of ``first`` to those of ``second``, improved.

    Parameters
    ----------
    first, second : ndarray of shape (n, side, side)
    maps : ndarray of shape (n, 6)
        Where to begin: within about a tenth of the side.
    steps : int
    """
    count, side = first.shape[:2]
    template = first.reshape(count, -1)
    across, down = _slopes(template, side)
    maps = maps.copy()
    for _ in range(steps):
        warped, inside = warp(second, maps)
        matched = _matched(template, warped, inside)
        w_across, w_down = _slopes(matched, side)
        maps = _compose(
            maps,
            _step(
                across + w_across,
                down + w_down,
                template - matched,
                _eroded(inside, side),
                side,
            ),
        )
    return maps


def _matched(template: Floats, warped: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    """Return the warped images with the mean and spread of the template, where they overlap."""
    number = np.maximum(inside.sum(axis=1), 1)

    def moments(values: Floats) -> tuple[Floats, Floats]:
        whole = np.rint(values * _LEVELS) * inside
        mean = whole.sum(axis=1) / number
        spread = np.sqrt(np.maximum((whole * whole).sum(axis=1) / number - mean * mean, 1.0))
        return mean[:, None] / _LEVELS, spread[:, None] / _LEVELS

    (t_mean, t_spread), (w_mean, w_spread) = moments(template), moments(warped)
    return (warped - w_mean) * (t_spread / w_spread) + t_mean


def _slopes(values: Floats, side: int) -> tuple[Floats, Floats]:
    """Return the central differences across and down, zero at the borders."""
    square = values.reshape(-1, side, side)
    across, down = np.zeros_like(square), np.zeros_like(square)
    across[:, :, 1:-1] = (square[:, :, 2:] - square[:, :, :-2]) / 2
    down[:, 1:-1] = (square[:, 2:] - square[:, :-2]) / 2
    return across.reshape(values.shape), down.reshape(values.shape)


def _eroded(inside: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """Return the pixels whose four neighbors are inside, too."""
    square = inside.reshape(-1, side, side)
    result = np.zeros_like(square)
    result[:, 1:-1, 1:-1] = (
        square[:, 1:-1, 1:-1]
        & square[:, :-2, 1:-1]
        & square[:, 2:, 1:-1]
        & square[:, 1:-1, :-2]
        & square[:, 1:-1, 2:]
    )
    return result.reshape(inside.shape)


def _step(
    across: Floats, down: Floats, error: Floats, inside: npt.NDArray[np.bool_], side: int
) -> Floats:
    """Return the least-squares change of the maps; slopes are twice the mean per pixel."""
    x, y = grid(side)
    # In steps of 1/16, so that all products below are integers.
    shape = np.stack([x, y, np.ones_like(x)]) * (side / 4 * _LEVELS)  # of each direction
    slopes = np.stack([across * inside, down * inside], axis=1)
    columns = slopes[:, :, None, :] * shape
    columns = np.rint(columns, out=columns).reshape(len(error), 6, -1)
    errors = np.rint(error * _LEVELS) * inside
    normal = columns @ columns.transpose(0, 2, 1)
    right = (columns @ errors[:, :, None])[:, :, 0]
    diagonal = np.arange(6)
    normal[:, diagonal, diagonal] *= 1 + _DAMPING
    normal[:, diagonal, diagonal] += 1.0
    step = _solved(normal, right)
    largest = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, _MOST_STEP / np.maximum(largest, 1e-12)))


def _solved(matrix: Floats, right: Floats) -> Floats:
    """Solve positive definite systems by Cholesky, number by number: LAPACK's bits vary by CPU."""
    size = matrix.shape[1]
    low: list[list[Any]] = [[None] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[:, i, j].copy()
            for k in range(j):
                rest -= low[i][k] * low[j][k]
            low[i][j] = np.sqrt(np.maximum(rest, 1e-9)) if i == j else rest / low[j][j]
    forward: list[Any] = []
    for i in range(size):
        rest = right[:, i].copy()
        for k in range(i):
            rest -= low[i][k] * forward[k]
        forward.append(rest / low[i][i])
    back: list[Any] = [None] * size
    for i in reversed(range(size)):
        rest = forward[i]
        for k in range(i + 1, size):
            rest = rest - low[k][i] * back[k]
        back[i] = rest / low[i][i]
    return np.stack(back, axis=1)


def _compose(maps: Floats, step: Floats) -> Floats:
    """Return the maps after the small map ``identity + step``."""
    a, b, c, d, e, f = (maps[:, i] for i in range(6))
    p, q, r, s, t, u = (step[:, i] for i in range(6))
    p, t = p + 1, t + 1
    return np.stack(
        [
            a * p + b * s,
            a * q + b * t,
            a * r + b * u + c,
            d * p + e * s,
            d * q + e * t,
            d * r + e * u + f,
        ],
        axis=1,
    )


@dataclass(frozen=True)
class Agreement:
    """The agreement of pairs of aligned thumbnails.

    Attributes
    ----------
    detail : ndarray of shape (n,)
        Correlation of the slopes of brightness, −1 to 1, over the common part.
    common : ndarray of shape (n,)
        Share of the thumbnail that both show.
    texture : ndarray of shape (n,)
        The smaller root mean square of slopes, in gray levels per pixel.
    """

    detail: Floats
    common: Floats
    texture: Floats


def agreement(first: Floats, second: Floats, maps: Floats) -> Agreement:
    """Compare thumbnails, each pair aligned by its map."""
    count, side = first.shape[:2]
    warped, inside = warp(second, maps)
    inside = _eroded(inside, side)
    parts = []
    for values in (first.reshape(count, -1), warped):
        across, down = _slopes(values, side)
        parts.append(np.rint(np.concatenate([across, down], axis=1) * (2 * _LEVELS)))
    both = np.concatenate([inside, inside], axis=1)
    one, other = parts[0] * both, parts[1] * both
    product = (one * other).sum(axis=1)
    squares = np.stack([(one * one).sum(axis=1), (other * other).sum(axis=1)])
    number = np.maximum(inside.sum(axis=1), 1)
    detail = product / np.sqrt(np.maximum(squares[0] * squares[1], 1.0))
    texture = np.sqrt(squares.min(axis=0) / number) / (2 * _LEVELS)
    return Agreement(detail, inside.sum(axis=1) / inside.shape[1], texture)

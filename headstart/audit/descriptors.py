"""Coarse descriptors of thumbnails, whose nearest neighbors are the candidates for copies.

A descriptor holds the low frequencies of the middle of an image, as integers: their products are
exact in float32, so a search gives the same result on every CPU. A copy that is turned or cropped
is found by searching for changed thumbnails, too (:data:`VIEWS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from headstart.audit.alignment import Floats, Thumbnails, grid, shrink

Descriptors = npt.NDArray[np.float32]

_COARSE = 32  # pixels of the side from which frequencies are taken
_FREQUENCIES = 9  # across and down
_LENGTH = 400  # of a descriptor; its square is below 2²⁴, so float32 products are exact
SCALE = float(_LENGTH * _LENGTH)
_EMPHASIS = 0.25  # exponent of the squared frequency: photographs have little of the high ones
_REACH = 1.15  # squared radius at which the window begins to fall; corners do not count
_PRECISION = 4096
#: Length below which an image has no contrast: that of noise of one gray level.
_LEAST = _PRECISION * 4.0 * 20


@dataclass(frozen=True)
class View:
    """A change of a thumbnail, as the map from the changed pixels to those of the thumbnail."""

    name: str
    map: tuple[float, ...]


def _orientations() -> list[View]:
    turned = (1.0, 0.0, 0.0, 1.0), (0.0, 1.0, -1.0, 0.0), (-1.0, 0.0, 0.0, -1.0)
    mirrored = (-1.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, -1.0), (0.0, 1.0, 1.0, 0.0)
    last = (0.0, -1.0, -1.0, 0.0)
    names = ("same", "turned 90°", "turned 180°", "mirrored", "mirrored", "mirrored", "mirrored")
    return [
        View(name, (a, b, 0.0, c, d, 0.0))
        for name, (a, b, c, d) in zip(names, (*turned, *mirrored, last), strict=True)
    ]


# A turn by 9°; crops that keep 0.86 of each side, from the middle or toward a side or a corner. As
# constants, because libraries differ in the last bit of a cosine.
_COS, _SIN, _ZOOM, _SHIFT = 0.98769, 0.15643, 0.86, 0.1
_TURN = (_COS, -_SIN, 0.0, _SIN, _COS, 0.0)
_CROP = (_ZOOM, 0.0, 0.0, 0.0, _ZOOM, 0.0)


def _views() -> tuple[View, ...]:
    """Return 7 orientations, as they are, turned and cropped, and 8 crops toward sides and corners.

    Each pair is searched from both sides, so inverses are left out: a turn by 270° of one image is
    a turn by 90° of the other, and a small turn to the left one to the right.
    """
    views = []
    for orientation in _orientations():
        views.append(orientation)
        views.append(View(f"{orientation.name}, small turn", _chained(orientation.map, _TURN)))
        views.append(View(f"{orientation.name}, cropped", _chained(orientation.map, _CROP)))
    line = (-_SHIFT, 0.0, _SHIFT)
    shifts = [(x, y) for x in line for y in line if x or y]
    views += [View("cropped", (_ZOOM, 0.0, x, 0.0, _ZOOM, y)) for x, y in shifts]
    return tuple(views)


def _chained(outer: tuple[float, ...], inner: tuple[float, ...]) -> tuple[float, ...]:
    """Return the map that applies ``inner`` and then ``outer``; neither moves the middle."""
    a, b, _, d, e, _ = outer
    p, q, _, s, t, _ = inner
    return (a * p + b * s, a * q + b * t, 0.0, d * p + e * s, d * q + e * t, 0.0)


VIEWS = _views()


def describe(coarse: npt.NDArray[np.float64], view: View = VIEWS[0]) -> Descriptors:
    """Return the descriptors of images, seen through a view.

    Parameters
    ----------
    coarse : ndarray of shape (n, 32, 32)
        Thumbnails, shrunk by :func:`coarsened`.
    view : View

    Returns
    -------
    ndarray of shape (n, 80), float32
        Integers. The product of two is their similarity × :data:`SCALE`; all zero for an image
        without contrast.
    """
    found = coarse.reshape(len(coarse), -1) @ _matrix(view)
    norm = np.sqrt((found * found).sum(axis=1, keepdims=True))
    flat = norm < _LEAST
    rounded = np.rint(found / np.where(flat, 1, norm) * _LENGTH)
    return np.asarray(np.where(flat, 0, rounded), np.float32)


def coarsened(thumbnails: Thumbnails) -> npt.NDArray[np.float64]:
    """Return the sums of squares of pixels, so that 32 × 32 are left."""
    factor = thumbnails.shape[1] // _COARSE
    return np.asarray(shrink(thumbnails, factor) * (factor * factor))


@cache
def _matrix(view: View) -> Floats:
    """Return what a view, a window and the frequencies do to pixels, as one matrix of integers.

    Rounded, so that sums of its products are exact, and the last bit of a cosine does not matter.
    """
    x, y = grid(_COARSE)
    window = np.clip(_REACH - (x * x + y * y), 0, 1)[:, None]
    line = (2 * np.arange(_COARSE) + 1) * np.pi / (2 * _COARSE)
    waves = np.cos(np.outer(np.arange(_FREQUENCIES), line))
    columns = [
        np.outer(waves[down], waves[across]).ravel() * (down * down + across * across) ** _EMPHASIS
        for down in range(_FREQUENCIES)
        for across in range(_FREQUENCIES)
        if down or across
    ]
    seen = window * np.stack(columns, axis=1)
    seen -= window * (seen.sum(axis=0) / window.sum())  # a constant image has no contrast
    matrix = np.zeros_like(seen)
    a, b, c, d, e, f = view.map
    column = np.clip((a * x + b * y + c + 1) * (_COARSE / 2) - 0.5, 0, _COARSE - 1)
    row = np.clip((d * x + e * y + f + 1) * (_COARSE / 2) - 0.5, 0, _COARSE - 1)
    left = np.minimum(column.astype(np.intp), _COARSE - 2)
    top = np.minimum(row.astype(np.intp), _COARSE - 2)
    for right, share in ((0, 1 - column + left), (1, column - left)):
        for low, height in ((0, 1 - row + top), (1, row - top)):
            weights = (share * height)[:, None] * seen
            np.add.at(matrix, (top + low) * _COARSE + left + right, weights)
    return np.asarray(np.rint(matrix * _PRECISION))

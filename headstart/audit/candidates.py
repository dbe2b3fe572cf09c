"""Pairs of images that may show the same photograph, by the nearest neighbors of descriptors.

Every image is searched for in 29 views (:data:`headstart.audit.descriptors.VIEWS`). Beyond
:data:`MOST_COMPARED` images, a view is compared only with the images of the 16 cells nearest to it.
There are about √n cells, so the work grows with n^1.5, and not with n².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.progress import progress
from headstart.audit.alignment import Thumbnails
from headstart.audit.descriptors import SCALE, VIEWS, Descriptors, coarsened, describe

Indices = npt.NDArray[np.int64]

MOST_COMPARED = 10_000
_PROBES = 16
_NEIGHBORS = 8
_LEAST = 0.75
_BLOCK = 512
_CHUNK = 1024
_STARTS = 2  # of the alignment, per pair
#: Pairs of an image that are candidates, so that their number grows with n, even if all images are
#: alike. Among frames of one object, a cropped copy comes after many neighbors: at 12, one in seven
#: copies was lost here.
_MOST_PAIRS = 128


@dataclass(frozen=True)
class Candidates:
    """Pairs to be verified, sorted; up to two views for each pair.

    Attributes
    ----------
    first, second, view : ndarray of shape (n,), int64
        The image ``second`` seen through the view resembles the image ``first``.
    """

    first: Indices
    second: Indices
    view: Indices


def find_candidates(thumbnails: Thumbnails, most_compared: int = MOST_COMPARED) -> Candidates:
    """Return the pairs of thumbnails whose descriptors are near each other.

    Parameters
    ----------
    thumbnails : ndarray of shape (n, 64, 64), uint8
        In an order that does not depend on the source's: where similarities are equal, the first
        ones are kept.
    most_compared : int
        Up to this number of images, each is compared with all.
    """
    base = _described(thumbnails, 0)
    cells = None if len(base) <= most_compared else _Cells(base)
    parts = []
    with progress(len(VIEWS) * len(base), "Searching for duplicates", "view") as bar:
        for number in range(len(VIEWS)):
            queries = base if number == 0 else _described(thumbnails, number)
            query, found, near = (_all if cells is None else cells.search)(queries, base)
            query, found, near = _nearest(query, found, near)
            part = np.stack([found, query, np.full(len(query), number), near])
            parts.append(part.astype(np.int32))  # half the memory, if all images are alike
            bar.update(len(base))
    return _distinct(np.concatenate(parts, axis=1))


def _described(thumbnails: Thumbnails, view: int) -> Descriptors:
    found = np.empty((len(thumbnails), 80), np.float32)
    for start in range(0, len(thumbnails), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        found[chunk] = describe(coarsened(thumbnails[chunk]), VIEWS[view])
    return found


def _all(queries: Descriptors, base: Descriptors) -> tuple[Indices, Indices, Indices]:
    parts = []
    for start in range(0, len(queries), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(queries)))
        parts.append(_nearest(*_above(rows, np.arange(len(base)), queries, base)))
    return _joined(parts)


class _Cells:
    """An inverted file: images by the nearest of some images, the leaders.

    The leaders are the first images in the order of their SHA-256, which is as good as random.
    """

    def __init__(self, base: Descriptors) -> None:
        self._leaders = base[: max(1, math.isqrt(len(base)))]
        cell = np.concatenate(
            [
                np.argmax(base[start : start + _CHUNK] @ self._leaders.T, axis=1)
                for start in range(0, len(base), _CHUNK)
            ]
        )
        order = np.argsort(cell, kind="stable")
        bounds = np.searchsorted(cell[order], np.arange(len(self._leaders) + 1))
        self._members = [order[low:high] for low, high in pairwise(bounds)]

    def search(self, queries: Descriptors, base: Descriptors) -> tuple[Indices, Indices, Indices]:
        """Return query, image and similarity of near descriptors."""
        probes = min(_PROBES, len(self._leaders))
        asked: list[Any] = []
        for start in range(0, len(queries), _CHUNK):
            near = (queries[start : start + _CHUNK] @ self._leaders.T).astype(np.int64)
            # The cell's number makes all values different, so that the choice is the same anywhere.
            ranked = near * (len(self._leaders) + 1) - np.arange(len(self._leaders))
            nearest = np.argpartition(ranked, -probes, axis=1)[:, -probes:]
            asked.append(nearest.astype(np.int32))  # half the memory, which is most of all here
        cell = np.concatenate(asked)
        rows = np.repeat(np.arange(len(queries), dtype=np.int32), probes)
        order = np.argsort(cell.ravel(), kind="stable")
        bounds = np.searchsorted(cell.ravel()[order], np.arange(len(self._leaders) + 1))
        parts = []
        for number, members in enumerate(self._members):
            here = rows[order[bounds[number] : bounds[number + 1]]]
            for start in range(0, len(here), _BLOCK):
                block = here[start : start + _BLOCK]
                parts.append(_nearest(*_above(block, members, queries, base)))
        return _joined(parts)


def _above(
    rows: npt.NDArray[np.signedinteger[Any]],
    members: Indices,
    queries: Descriptors,
    base: Descriptors,
) -> tuple[Indices, Indices, Indices]:
    near = queries[rows] @ base[members].T
    enough = np.full(len(rows), _LEAST * SCALE, near.dtype)
    many = np.flatnonzero((near >= enough[:, None]).sum(axis=1) > _NEIGHBORS + 1)
    if len(many):  # only the nearest are kept later, and one may be the image itself
        enough[many] = np.partition(near[many], -_NEIGHBORS - 1, axis=1)[:, -_NEIGHBORS - 1]
    row, column = np.nonzero(near >= enough[:, None])
    query, found = rows[row].astype(np.int64), members[column]
    other = query != found
    values = near[row, column].astype(np.int64)
    return query[other], found[other], values[other]


def _nearest(query: Indices, found: Indices, near: Indices) -> tuple[Indices, Indices, Indices]:
    """Keep the nearest images of each query."""
    order = np.lexsort([found, -near, query])
    query, found, near = query[order], found[order], near[order]
    kept = _place(query) < _NEIGHBORS
    return query[kept], found[kept], near[kept]


def _place(sorted_keys: Indices) -> Indices:
    """Return for each entry the number of equal ones before it."""
    numbers = np.arange(len(sorted_keys))
    new = np.ones(len(sorted_keys), bool)
    new[1:] = sorted_keys[1:] != sorted_keys[:-1]
    return numbers - np.maximum.accumulate(np.where(new, numbers, 0))


def _joined(parts: list[tuple[Indices, Indices, Indices]]) -> tuple[Indices, Indices, Indices]:
    empty = np.empty(0, np.int64)
    query, found, near = (np.concatenate([empty, *each]) for each in zip(*parts, strict=True))
    return query, found, near


def _distinct(table: npt.NDArray[np.int32]) -> Candidates:
    """Keep the nearest views of each unordered pair, and the nearest pairs of each image."""
    first, second, view, near = table.astype(np.int64)
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort([first, view, -near, high, low])
    number = int(table[:2].max(initial=0)) + 1
    start = _place((low * number + high)[order])
    best = order[start == 0]
    wanted = among_nearest(low[best], high[best], near[best], _MOST_PAIRS)
    kept = order[(start < _STARTS) & wanted[np.cumsum(start == 0) - 1]]
    return Candidates(first[kept], second[kept], view[kept])


def among_nearest(
    first: Indices, second: Indices, near: npt.NDArray[Any], most: int
) -> npt.NDArray[np.bool_]:
    """Return which pairs are among the ``most`` nearest ones of either of their images.

    Parameters
    ----------
    first, second : ndarray of shape (n,), int64
        Each unordered pair once.
    near : ndarray of shape (n,)
        Larger values are nearer. Of equal ones, those with the lower number of an image are kept.
    most : int
    """
    side, other = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort([other, -np.concatenate([near, near]), side])
    wanted = np.zeros(2 * len(first), bool)
    wanted[order] = _place(side[order]) < most
    return wanted[: len(first)] | wanted[len(first) :]

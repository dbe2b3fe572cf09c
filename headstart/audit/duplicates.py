"""Find images that show the same photograph, and join them to groups.

Candidates come from coarse descriptors (:mod:`headstart.audit.candidates`); each is then aligned
and compared on its pixels (:mod:`headstart.audit.alignment`), from coarse to fine: many pairs of an
image are compared coarsely, and those that agree most are compared completely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from headstart._utils.machine import cores
from headstart._utils.progress import progress
from headstart._utils.unions import united
from headstart.audit.alignment import Floats, agreement, align, shrink
from headstart.audit.candidates import Candidates, Indices, among_nearest, find_candidates
from headstart.audit.descriptors import VIEWS
from headstart.audit.thumbnails import Small

_Compared = TypeVar("_Compared")

#: What makes two images differ, in the order in which it is named.
KINDS = ("mirrored", "turned", "small turn", "cropped", "gray", "brightness", "similar", "same")

_CHUNK = 32  # pairs: their pixels fit a core's cache
#: Shrinking of the thumbnails, steps of the alignment, and the least agreement to go on.
_Level = tuple[int, int, float]

#: Levels, and the pairs of an image that go on after them: those that agree most. Among frames that
#: resemble each other, they tell a copy from its neighbors, which the descriptors do not.
_ROUNDS: tuple[tuple[tuple[_Level, ...], int], ...] = (
    (((4, 3, 0.3),), 24),
    (((4, 3, 0.45), (2, 2, 0.45)), 8),
)
_LAST_LEVELS: tuple[_Level, ...] = ((2, 3, 0.65),)
_LAST_STEPS = 3
_LEAST_COMMON = 0.5
_LEAST_TEXTURE = 1.0  # gray levels per pixel: below it, an image is as good as flat
_GRAY = 2.0  # mean distance of colors from gray
_COLOR = 10.0  # gray levels
_SCALES = (0.35, 2.8)  # of areas
#: Copies that are neither moved nor brightened agree more than this; two frames of a burst less.
_SAME = 0.975


@dataclass(frozen=True)
class Pairs:
    """Verified pairs, sorted by the numbers of their images.

    Attributes
    ----------
    first, second : ndarray of shape (n,), int64
        ``first < second``.
    similarity : ndarray of shape (n,), float64
        Correlation of their detail, rounded to three digits.
    kind : sequence of str
        One of :data:`KINDS`.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    similarity: Floats
    kind: Sequence[str]

    def __len__(self) -> int:
        return len(self.first)


def find_pairs(images: Small, least: float) -> Pairs:
    """Return the pairs of images whose detail, aligned, correlates by ``least`` or more.

    Parameters
    ----------
    images : Small
        In an order that does not depend on the source's: sorted by their SHA-256.
    least : float
    """
    if len(images.gray) < 2:
        return _sorted({})
    return verify(images, find_candidates(images.gray), least)


def verify(images: Small, candidates: Candidates, least: float) -> Pairs:
    """Align and compare the candidates; return those that agree.

    After a round, each image's pairs that agree most go on, seen through the view that does.
    """
    open_ = _Open.of(candidates)
    open_ = open_[_same_color(images, open_.first, open_.second)]
    for levels, most in _ROUNDS:
        parts = _mapped(partial(_aligned, images, levels=levels), open_)
        open_ = _most_alike(_Open.joined([open_[:0], *parts]), most)
    return _sorted(
        dict(chain.from_iterable(_mapped(partial(_verified, images, least=least), open_)))
    )


@dataclass(frozen=True)
class _Open:
    """Pairs that may agree, with the maps that align them (half the memory as float32)."""

    first: Indices
    second: Indices
    maps: npt.NDArray[np.float32]
    detail: Floats

    @classmethod
    def of(cls, candidates: Candidates) -> Self:
        views = np.array([view.map for view in VIEWS], np.float32)
        count = len(candidates.view)
        return cls(candidates.first, candidates.second, views[candidates.view], np.zeros(count))

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        fields = ("first", "second", "maps", "detail")
        return cls(*(np.concatenate([getattr(part, each) for part in parts]) for each in fields))

    def __getitem__(self, rows: Any) -> Self:
        return type(self)(self.first[rows], self.second[rows], self.maps[rows], self.detail[rows])

    def __len__(self) -> int:
        return len(self.first)


def _mapped(compare: Callable[[_Open], _Compared], pairs: _Open) -> Iterator[_Compared]:
    """Compare chunks of pairs on all cores."""
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    with (
        ThreadPoolExecutor(cores(), thread_name_prefix="pairs") as executor,
        progress(len(pairs), "Comparing pairs", "pair") as bar,
    ):
        for chunk, part in zip(chunks, executor.map(compare, chunks), strict=True):
            yield part
            bar.update(len(chunk))


def _aligned(images: Small, pairs: _Open, levels: tuple[_Level, ...]) -> _Open:
    """Align pairs from level to level; drop those that do not agree enough."""
    for factor, steps, enough in levels:
        if not len(pairs):
            break
        one, other = (shrink(images.gray[side], factor) for side in (pairs.first, pairs.second))
        maps = align(one, other, pairs.maps.astype(np.float64), steps)
        detail = agreement(one, other, maps).detail
        open_ = _Open(pairs.first, pairs.second, maps.astype(np.float32), detail)
        pairs = open_[detail >= enough]
    return pairs


def _most_alike(pairs: _Open, most: int) -> _Open:
    """Keep the view of each pair that agrees most, and the pairs of each image that do."""
    ends = np.sort(np.stack([pairs.first, pairs.second]), axis=0)
    order = np.lexsort([-pairs.detail, ends[1], ends[0]])
    ends = ends[:, order]
    best = np.ones(len(order), bool)
    best[1:] = (ends[:, 1:] != ends[:, :-1]).any(axis=0)
    low, high = ends[:, best]
    kept = order[best]
    return pairs[kept[among_nearest(low, high, pairs.detail[kept], most)]]


def _verified(images: Small, pairs: _Open, least: float) -> list[Any]:
    """Return the ends of each pair that agrees, with its similarity and kind."""
    pairs = _aligned(images, pairs, _LAST_LEVELS)
    if not len(pairs):
        return []
    first, second = pairs.first, pairs.second
    one, other = (images.gray[side].astype(np.float64) for side in (first, second))
    maps = align(one, other, pairs.maps.astype(np.float64), _LAST_STEPS)
    found = agreement(one, other, maps)
    area = np.abs(maps[:, 0] * maps[:, 4] - maps[:, 1] * maps[:, 3])
    similarity = np.round(found.detail, 3)
    kept = (
        (similarity >= least)
        & (found.common >= _LEAST_COMMON)
        & (found.texture >= _LEAST_TEXTURE)
        & (area > _SCALES[0])
        & (area < _SCALES[1])
    )
    kinds = [
        _kind(images, *each)
        for each in zip(first[kept], second[kept], maps[kept], similarity[kept], strict=True)
    ]
    ends = np.sort(np.stack([first[kept], second[kept]]), axis=0).T.tolist()
    return list(
        zip(map(tuple, ends), zip(similarity[kept].tolist(), kinds, strict=True), strict=True)
    )


def _same_color(images: Small, first: Any, second: Any) -> npt.NDArray[np.bool_]:
    """Return which pairs may be of one color, brightened or not; gray goes with any."""
    gray = (images.saturation[first] < _GRAY) | (images.saturation[second] < _GRAY)
    one, other = images.color[first], images.color[second]
    near = np.zeros(len(first), bool)
    for factor in (0.7, 0.85, 1.0, 1.18, 1.43):
        near |= np.abs(one * factor - other).max(axis=1) <= _COLOR
    return np.asarray(gray | near)


def _kind(images: Small, first: int, second: int, found: Floats, similarity: float) -> str:
    moved = _moved(*(float(value) for value in found))
    saturation = sorted(images.saturation[[first, second]])
    means = sorted(images.gray[[first, second]].mean(axis=(1, 2)))
    if moved:
        return moved
    if saturation[0] < _GRAY <= saturation[1]:
        return "gray"
    if means[1] > 1.1 * means[0]:
        return "brightness"
    return "same" if similarity > _SAME else "similar"


def _moved(a: float, b: float, c: float, d: float, e: float, f: float) -> str:
    """Return how an affine map moves an image; "" if it hardly does."""
    if a * e - b * d < 0:
        return "mirrored"
    if a + e < abs(b - d):
        return "turned"
    if abs(d - b) > 0.1 * (a + e):
        return "small turn"
    return "cropped" if max(abs(c), abs(f), abs(a - 1), abs(e - 1)) > 0.02 else ""


def _sorted(found: Mapping[tuple[int, int], tuple[float, str]]) -> Pairs:
    keys = sorted(found)
    return Pairs(
        np.array([key[0] for key in keys], np.int64),
        np.array([key[1] for key in keys], np.int64),
        np.array([found[key][0] for key in keys], np.float64),
        [found[key][1] for key in keys],
    )


def join(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return the group of every image that is in a pair: the first of its image ids."""
    return united(pairs)


def counts(kinds: Iterable[str]) -> dict[str, int]:
    """Return the number of pairs of each kind, zeros included."""
    found = Counter(kinds)
    return {kind: found[kind] for kind in KINDS}

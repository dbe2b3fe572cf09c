"""A split's features in parts: ``train/000.npy`` and so on, read as one array.

A split of up to 4,096 images is one ``.npy``. A larger one is a folder of parts, chosen by the
SHA-256 of the image (:mod:`headstart.datasets.parts`), so that ten new images change ten small
files. Beside each part stands the table of its rows, with the paths that give the manifest's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.csv_text import neutral_csv, neutral_table
from headstart._utils.files import sha256_file
from headstart.datasets.earlier_files import EarlierFiles
from headstart.datasets.parted import divided, part_name
from headstart.datasets.parts import parts
from headstart.features.array_rows import ArrayFile, ArrayRows, empty
from headstart.features.npy import fill_npy

#: Images of a split up to which its features are one file.
WHOLE = 4096
#: Images per part on average, at the most: a part of 1,280 values per image then has a megabyte.
MOST = 256
#: Columns of the row table of a part.
PART_ROWS: Mapping[str, str] = {"image_id": "str", "path": "str", "label": "str", "view": "int64"}
#: The columns by which the rows of a split's table are sorted.
ORDER = ("view", "path")

_WRITER = 1  # number of the rule by which a part is written
_OPEN = 64  # parts that are mapped at a time; systems allow 256 open files or more

Vectors = Callable[[pd.DataFrame], Iterable[npt.ArrayLike]]


class Part(NamedTuple):
    """The rows of a part that was written, and the SHA-256 of its array and of its table."""

    rows: int
    sha256_npy: str
    sha256_rows: str


def part_count(rows: pd.DataFrame) -> int:
    """Return the number of parts of a split; 1: it is one file. Rows without paths always are."""
    return parts(rows["image_id"].nunique(), WHOLE, MOST) if "path" in rows else 1


def earlier_parts(cache: Path | None) -> EarlierFiles:
    """Return the parts in a cache of DVC; None: nothing is found or recorded."""
    return EarlierFiles(cache, "parts", _WRITER)


def write_parts(
    folder: Path, rows: pd.DataFrame, shape: Sequence[int], dtype: str, vectors: Vectors,
    earlier: EarlierFiles, origin: Sequence[str],
) -> list[Part]:  # fmt: skip
    """Write the parts of a split into a folder that does not exist yet.

    Parameters
    ----------
    folder : Path
    rows : DataFrame
        Columns :data:`PART_ROWS`, sorted by :data:`ORDER`.
    shape : sequence of int
        Of one image's features.
    dtype : str
    vectors : callable
        From the columns image_id and view of some rows to an array for each.
    earlier : EarlierFiles
        Parts that an earlier run wrote: the array of one with the same images is copied.
    origin : sequence of str
        What decides the vectors, beside image and view: the fingerprints.
    """
    folder.mkdir()
    count = part_count(rows)
    written = []
    # Image and view, which the vectors depend on, are the same in neutral text.
    for each, own in enumerate(divided(neutral_table(rows[list(PART_ROWS)]), count)):
        array, table = folder / part_name(each, "npy"), folder / part_name(each)
        listed = [
            dtype, *map(str, shape), *origin,
            *map("{} {}".format, own["image_id"].tolist(), own["view"].tolist()),
        ]  # fmt: skip
        if earlier.copy(listed, array):
            digest = sha256_file(array)
        else:
            with array.open("wb") as file:
                name = f"{folder.name}/{array.name}"
                digest = fill_npy(
                    file, len(own), shape, dtype, vectors(own[["image_id", "view"]]), name
                )
            earlier.record(listed, array)
        table.write_text(neutral_csv(own), encoding="utf-8", newline="\n")
        written.append(Part(len(own), digest, sha256_file(table)))
    return written


class PartedArray(ArrayRows):
    """The arrays of a split's parts as one array, which is read when it is indexed.

    It is indexed by its rows: by a number, a slice, numbers or a mask. ``numpy.asarray`` reads all.

    Parameters
    ----------
    files : sequence of Path
        The parts.
    part : ndarray of shape (n,)
        The part of each row; a part has its rows in their order here.
    shape : tuple of int
        Of one row.
    dtype : str
    """

    def __init__(
        self, files: Sequence[Path], part: npt.NDArray[np.int64], shape: Sequence[int], dtype: str
    ) -> None:
        super().__init__((len(part), *shape), dtype)
        self._part = part
        self._place = np.empty(len(part), np.int64)
        self._order = np.argsort(part, kind="stable")
        self._starts = np.searchsorted(part[self._order], np.arange(len(files) + 1))
        self._place[self._order] = np.arange(len(part)) - self._starts[part[self._order]]

        def opened(number: int) -> npt.NDArray[Any]:
            found: npt.NDArray[Any] = np.lib.format.open_memmap(files[number], mode="r")
            return found

        self._opened = opened
        self._mapped = lru_cache(maxsize=_OPEN)(opened)

    def gathered(self) -> npt.NDArray[Any] | ArrayFile:
        """Return all rows in one array, or in one file if they are many; each part is read once.

        A batch of rows of this array opens as many files as it has rows.
        """
        found = empty(self.shape, self.dtype)
        for number, (low, high) in enumerate(pairwise(self._starts)):
            found[self._order[low:high]] = self._opened(number)
        return found

    def _read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        part = self._part[rows]
        order = np.argsort(part, kind="stable")
        numbers, starts = np.unique(part[order], return_index=True)
        for number, start, end in zip(numbers, starts, [*starts[1:], len(rows)], strict=False):
            own = order[start:end]
            found[own] = self._mapped(int(number))[self._place[rows[own]]]
        return found

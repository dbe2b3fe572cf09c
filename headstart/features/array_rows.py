"""Arrays that are read where they are indexed by rows: from one file, or from several."""

from __future__ import annotations

import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.cache import cache_folder
from headstart._utils.disk import require_room

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

#: Arrays up to this size are held in memory. The bits of a training do not depend on it.
RESIDENT_BYTES = 512 << 20
_ROOM = "Free some room, or name another folder in the environment variable HEADSTART_CACHE."


class ArrayRows(ABC):
    """Rows of one shape. ``numpy.asarray`` reads all.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        self.shape = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        rows = self._numbers(index)
        return self._read(rows.ravel()).reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("rows of files can only be copied into one array")
        found = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)

    def _numbers(self, index: Any) -> Rows:
        """Return the numbers of rows from a number, a slice, numbers or a mask."""
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        wanted = np.asarray(index)
        if wanted.dtype == bool:
            (wanted,) = np.nonzero(wanted)
        if ((wanted < -len(self)) | (wanted >= len(self))).any():
            raise IndexError(f"a row beyond the {len(self):,} of these features")
        return np.asarray(wanted % max(1, len(self))).astype(np.int64)

    @abstractmethod
    def _read(self, rows: Rows) -> Array:
        """Return rows by their numbers."""


class ArrayFile(ArrayRows):
    """An array in a temporary file of the cache folder, which ends with the object.

    It is read and written by position and not mapped, so that it takes no memory of the process.
    Threads may use it at once.
    """

    def __init__(self, shape: Sequence[int], dtype: npt.DTypeLike) -> None:
        super().__init__(shape, dtype)
        folder = cache_folder()
        require_room({folder: self.nbytes}, "The features in one file", _ROOM)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - kept open
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._row = self.nbytes // max(1, len(self))

    def __setitem__(self, index: Any, values: Array) -> None:
        rows = self._numbers(index).ravel()
        content = np.ascontiguousarray(values, self.dtype)
        for low, high in _runs(rows):
            part: Any = content[low:high]
            waiting = memoryview(part).cast("B")
            with self._lock:
                self._file.seek(int(rows[low]) * self._row)
                while waiting:
                    waiting = waiting[self._file.write(waiting) :]

    def _read(self, rows: Rows) -> Array:
        found = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for low, high in _runs(rows):
            part: Any = found[low:high]
            waiting = memoryview(part).cast("B")
            with self._lock:
                self._file.seek(int(rows[low]) * self._row)
                while waiting and (count := self._file.readinto(waiting)):
                    waiting = waiting[count:]
        return found


def empty(shape: Sequence[int], dtype: npt.DTypeLike) -> Array | ArrayFile:
    """Return an array to be filled: in memory, or in a file if it is large."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.empty(shape, dtype) if size <= RESIDENT_BYTES else ArrayFile(shape, dtype)


def _runs(rows: Rows) -> list[tuple[int, int]]:
    """Return the bounds of consecutive numbers."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return list(pairwise([0, *breaks.tolist(), len(rows)])) if len(rows) else []

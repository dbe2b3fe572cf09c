"""The numerical comparison of two files of one format whose bytes differ."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

#: Two numbers count as equal if they differ by no more than ABSOLUTE + RELATIVE · |recorded|.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
_ROWS = 1 << 20  # numbers that are compared at a time
_MOST = 4 << 30  # bytes that an archive may unpack to
_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")


@dataclass(frozen=True)
class NumericalComparison:
    """The result of a comparison.

    Attributes
    ----------
    equal : bool
        Whether all numbers are equal within the tolerance, and everything else is the same.
    largest : float or None
        Largest difference of two numbers; None if there are none to compare, or it is infinite.
    why : str
        The first place that differs by more, or what was left out; "" for nothing.
    """

    equal: bool
    largest: float | None = None
    why: str = ""


class _DifferentError(Exception):
    """The message names the place."""


class _Numbers:
    """Compare numbers; keep the largest difference and the first place that differs too much."""

    def __init__(self) -> None:
        self.largest: float | None = None
        self.over = ""
        self.left_out = ""

    def arrays(self, first: npt.NDArray[Any], second: npt.NDArray[Any], place: str) -> None:
        if first.shape != second.shape or first.dtype != second.dtype:
            raise _DifferentError(
                f"{place}: {first.dtype} {first.shape} was recorded, "
                f"this one is {second.dtype} {second.shape}"
            )
        if first.dtype.kind not in "biufc":
            if not np.array_equal(first, second):
                raise _DifferentError(f"{place}: the values differ, and they are not numbers")
            return
        one, two = first.reshape(-1), second.reshape(-1)
        for start in range(0, one.size, _ROWS):
            self._piece(one[start : start + _ROWS], two[start : start + _ROWS], place)

    def _piece(self, first: npt.NDArray[Any], second: npt.NDArray[Any], place: str) -> None:
        kind = np.complex128 if first.dtype.kind == "c" else np.float64
        one, two = first.astype(kind), second.astype(kind)
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(one - two)
            apart[(one == two) | (np.isnan(one) & np.isnan(two))] = 0.0
            apart[np.isnan(apart)] = np.inf
            too_far: npt.NDArray[np.bool_] = first != second  # whole numbers: as they are
            if first.dtype.kind in "fc":
                too_far = apart > ABSOLUTE + RELATIVE * np.where(np.isfinite(one), np.abs(one), 0.0)
        self.largest = max(self.largest or 0.0, float(apart.max(initial=0.0)))
        if not self.over and bool(too_far.any()):
            self.over = f"{place}: numbers differ by up to {float(apart.max()):.3g}"

    def scalars(self, first: float, second: float, place: str) -> None:
        kind = np.int64 if isinstance(first, int) and isinstance(second, int) else np.float64
        try:
            self._piece(np.array([first], kind), np.array([second], kind), place)
        except OverflowError:  # An integer beyond 64 bits.
            if first != second:
                raise _DifferentError(f"{place}: {first} was recorded, now {second}") from None


def compare_files(first: Path, second: Path) -> NumericalComparison:
    """Compare a recorded file with one that was made again.

    Reads .npy, .npz, .csv, .json, .h5 and .keras; files of any other format are different if their
    bytes are. Nothing in the files is executed.

    Parameters
    ----------
    first, second : Path
        The recorded file, and the other one, whose suffix decides the format.
    """
    compare = _FORMATS.get(second.suffix)
    if compare is None:
        return NumericalComparison(
            equal=False, why="the bytes differ, and the format has no numbers to compare"
        )
    numbers = _Numbers()
    try:
        with first.open("rb") as one, second.open("rb") as two:
            compare(one, two, "", numbers)
    except _DifferentError as error:
        return NumericalComparison(
            equal=False, largest=_finite(numbers.largest), why=str(error).removeprefix(": ")
        )
    except Exception as error:  # noqa: BLE001 - whatever a reader says of a file that is damaged
        return NumericalComparison(equal=False, why=f"one of the two cannot be read: {error}")
    over = numbers.over.removeprefix(": ")
    return NumericalComparison(not over, _finite(numbers.largest), over or numbers.left_out)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _npy(first: BinaryIO, second: BinaryIO, place: str, numbers: _Numbers) -> None:
    one, two = (np.load(file, allow_pickle=False) for file in (first, second))
    numbers.arrays(one, two, place)


def _zip(first: BinaryIO, second: BinaryIO, place: str, numbers: _Numbers) -> None:
    """Compare archives member by member: .npz and .keras."""
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as two:
        _same(sorted(one.namelist()), sorted(two.namelist()), f"{place}: members")
        for archive in (one, two):
            if sum(member.file_size for member in archive.infolist()) > _MOST:
                raise _DifferentError(f"{place}: too large to unpack")
        for name in sorted(one.namelist()):
            inner, there = (archive.read(name) for archive in (one, two))
            if inner != there:
                compare = _FORMATS.get(Path(name).suffix)
                if compare is None:
                    raise _DifferentError(f"{place}{name}: the bytes differ")
                compare(io.BytesIO(inner), io.BytesIO(there), f"{place}{name}", numbers)


def _h5(first: BinaryIO, second: BinaryIO, place: str, numbers: _Numbers) -> None:
    import h5py

    with h5py.File(first, "r") as one, h5py.File(second, "r") as two:
        found = [_datasets(h5py, file) for file in (one, two)]
        _same(sorted(found[0]), sorted(found[1]), f"{place}: data sets")
        for name in sorted(found[0]):
            numbers.arrays(found[0][name][()], found[1][name][()], f"{place}:{name}")


def _datasets(h5py: Any, file: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    return found


def _json(first: BinaryIO, second: BinaryIO, place: str, numbers: _Numbers) -> None:
    _values(json.load(first), json.load(second), place, numbers)


def _values(first: Any, second: Any, place: str, numbers: _Numbers) -> None:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        _same(sorted(first), sorted(second), f"{place}: keys")
        for key in first:
            _values(first[key], second[key], f"{place}.{key}" if place else str(key), numbers)
    elif isinstance(first, list) and isinstance(second, list):
        _same(len(first), len(second), f"{place}: entries")
        for number, pair in enumerate(zip(first, second, strict=True)):
            _values(*pair, f"{place}[{number}]", numbers)
    elif _number(first) and _number(second):
        numbers.scalars(first, second, place)
    elif first != second and _digests(first, second, place):
        # The files that were hashed are compared themselves.
        numbers.left_out = f"hashes of other files, such as {place}, were left out"
    else:
        _same(first, second, place)


def _digests(first: Any, second: Any, place: str) -> bool:
    named = place.rpartition(".")[2].endswith(("sha256", "md5"))
    texts = [value for value in (first, second) if isinstance(value, str)]
    return named and len(texts) == 2 and all(_DIGEST.fullmatch(text) for text in texts)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _csv(first: BinaryIO, second: BinaryIO, place: str, numbers: _Numbers) -> None:
    readers = [csv.reader(io.StringIO(file.read().decode(), "")) for file in (first, second)]
    for line, (one, two) in enumerate(zip_longest(*readers), start=1):
        if one is None or two is None:
            raise _DifferentError(f"{place}: the number of rows differs")
        _same(len(one), len(two), f"{place}: cells in row {line}")
        for column, (cell, there) in enumerate(zip(one, two, strict=True), start=1):
            if cell != there:
                where = f"{place}row {line}, column {column}"
                pair = _decimal(cell), _decimal(there)
                if pair[0] is None or pair[1] is None:
                    raise _DifferentError(
                        f"{where}: {cell[:40]!r} was recorded, now {there[:40]!r}"
                    )
                numbers.scalars(pair[0], pair[1], where)


def _decimal(cell: str) -> float | None:
    """Return the number in a cell; None if there is none. A hash of digits is not a number."""
    if re.fullmatch(r"[+-]?\d{1,18}", cell):
        return int(cell)
    try:
        return float(cell) if len(cell) <= 30 else None
    except ValueError:
        return None


def _same(first: Any, second: Any, place: str) -> None:
    if first != second or type(first) is not type(second):
        one, two = (repr(value)[:60] for value in (first, second))
        raise _DifferentError(f"{place}: {one} was recorded, now {two}")


_FORMATS: Mapping[str, Callable[[BinaryIO, BinaryIO, str, _Numbers], None]] = {
    ".npy": _npy,
    ".npz": _zip,
    ".keras": _zip,
    ".h5": _h5,
    ".json": _json,
    ".csv": _csv,
}

"""The numerical comparison of two files of one format whose bytes differ."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

#: A place in a file, and the number, text, bytes, or array there.
Entry = tuple[str, Any]

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
        The first place that differs by more, or the reason for leaving one out; "" for none.
    """

    equal: bool
    largest: float | None = None
    why: str = ""


class _DifferentError(Exception):
    """The message names the place."""


class _Numbers:
    """Compare values; keep the largest difference and the first place that differs too much."""

    def __init__(self) -> None:
        self.largest: float | None = None
        self.over = ""
        self.left_out = ""

    def compare(self, recorded: Entry, got: Entry) -> None:
        place, was, now = *recorded, got[1]
        if place != got[0]:
            raise _DifferentError(f"{place} was recorded, now {got[0]}")
        if isinstance(was, np.ndarray):
            self._arrays(was, now, place)
        elif was == now and type(was) is type(now):
            return
        elif _number(was) and _number(now):
            kind = None if type(was) is type(now) else np.float64
            self._arrays(np.array([was], kind), np.array([now], kind), place)
        elif isinstance(was, bytes):
            raise _DifferentError(f"{place}: the bytes differ")
        elif _digests(was, now, place):  # The files that were hashed are compared themselves.
            self.left_out = f"hashes of other files, such as {place}, were left out"
        else:
            raise _DifferentError(f"{place}: {_short(was)} was recorded, now {_short(now)}")

    def _arrays(self, first: npt.NDArray[Any], second: npt.NDArray[Any], place: str) -> None:
        if first.shape != second.shape or first.dtype != second.dtype:
            raise _DifferentError(
                f"{place}: {first.dtype} {first.shape} was recorded, "
                f"this one is {second.dtype} {second.shape}"
            )
        if first.dtype.kind not in "biufc":
            if not np.array_equal(first, second):
                raise _DifferentError(
                    f"{place}: the values differ, and no tolerance applies to {first.dtype}"
                )
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


def compare_files(first: Path, second: Path) -> NumericalComparison:
    """Compare a recorded file with one that was made again.

    Reads .npy, .npz, .csv, .json, .h5 and .keras; files of any other format are different if their
    bytes are. Nothing in the files is executed.

    Parameters
    ----------
    first, second : Path
        The recorded file, and the other one, whose suffix decides the format.
    """
    read = _FORMATS.get(second.suffix)
    if read is None:
        return NumericalComparison(
            equal=False, why="the bytes differ, and the format has no numbers to compare"
        )
    numbers = _Numbers()
    try:
        with first.open("rb") as one, second.open("rb") as two:
            for entries in zip_longest(read(one, ""), read(two, ""), fillvalue=("the end", None)):
                numbers.compare(*entries)
    except _DifferentError as error:
        return NumericalComparison(
            equal=False, largest=_finite(numbers.largest), why=str(error).removeprefix(": ")
        )
    except Exception as error:  # noqa: BLE001 - a reader raises anything on a damaged file
        return NumericalComparison(equal=False, why=f"one of the two cannot be read: {error}")
    over = numbers.over.removeprefix(": ")
    return NumericalComparison(not over, _finite(numbers.largest), over or numbers.left_out)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _npy(file: BinaryIO, place: str) -> Iterator[Entry]:
    yield place, np.load(file, allow_pickle=False)


def _zip(file: BinaryIO, place: str) -> Iterator[Entry]:
    """Read an archive member by member: .npz and .keras."""
    with zipfile.ZipFile(file) as archive:
        names = sorted(archive.namelist())
        yield f"{place}: members", names
        if sum(member.file_size for member in archive.infolist()) > _MOST:
            raise _DifferentError(f"{place}: too large to unpack")
        for name in names:
            content, read = archive.read(name), _FORMATS.get(Path(name).suffix)
            if read is None:
                yield f"{place}{name}", content
            else:
                yield from read(io.BytesIO(content), f"{place}{name}")


def _h5(file: BinaryIO, place: str) -> Iterator[Entry]:
    import h5py

    with h5py.File(file, "r") as opened:
        found: list[str] = []
        opened.visit(found.append)
        names = [name for name in sorted(found) if isinstance(opened[name], h5py.Dataset)]
        yield f"{place}: data sets", names
        for name in names:
            yield f"{place}:{name}", opened[name][()]


def _json(file: BinaryIO, place: str) -> Iterator[Entry]:
    yield from _values(json.load(file), place)


def _values(value: Any, place: str) -> Iterator[Entry]:
    if isinstance(value, Mapping):
        yield f"{place}: keys", sorted(value)
        for key in sorted(value):
            yield from _values(value[key], f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        yield place, f"{len(value)} entries"
        for number, entry in enumerate(value):
            yield from _values(entry, f"{place}[{number}]")
    else:
        yield place, value


def _csv(file: BinaryIO, place: str) -> Iterator[Entry]:
    for line, cells in enumerate(csv.reader(io.StringIO(file.read().decode(), "")), start=1):
        yield f"{place}row {line}", f"{len(cells)} cells"
        for column, cell in enumerate(cells, start=1):
            yield f"{place}row {line}, column {column}", _cell(cell)


def _cell(cell: str) -> float | str:
    """Return the number in a cell, else its text. A hash of digits is not a number."""
    if re.fullmatch(r"[+-]?\d{1,18}", cell):
        return int(cell)
    try:
        return float(cell) if len(cell) <= 30 else cell
    except ValueError:
        return cell


def _digests(first: Any, second: Any, place: str) -> bool:
    named = place.rpartition(".")[2].endswith(("sha256", "md5"))
    return named and all(_DIGEST.fullmatch(str(value)) for value in (first, second))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return repr(value)[:60]


_FORMATS: Mapping[str, Callable[[BinaryIO, str], Iterator[Entry]]] = {
    ".npy": _npy,
    ".npz": _zip,
    ".keras": _zip,
    ".h5": _h5,
    ".json": _json,
    ".csv": _csv,
}

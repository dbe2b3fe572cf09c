"""Features of any number of images as a ``.npy``, and whose they are as a CSV beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_file

_COLUMNS = ["row", "file"]

Add = Callable[[str, npt.NDArray[np.float32]], None]


def names_beside(path: Path) -> Path:
    """Where the images' names are written."""
    return path.with_suffix(".csv")


def check_place(path: Path) -> None:
    """Refuse a place for both files, before anything is computed for it.

    A file of ours may be written anew. A CSV of the same name that is not, such as a list of
    labels, was not named by anybody, and is no place.

    Parameters
    ----------
    path : Path
        The ``.npy`` file to be.

    Raises
    ------
    HeadstartError
        If a folder is in the way, or another CSV.
    """
    names = names_beside(path)
    for one in (path, names):
        if one.is_dir():
            raise HeadstartError(
                f"{one} is a folder, and a file of that name is to be written. Nothing was read. "
                "Name another --output."
            )
    if not names.exists():
        return
    head = f"{','.join(_COLUMNS)}\n".encode()
    with names.open("rb") as file:
        ours = file.read(len(head)) == head
    if not ours:
        raise HeadstartError(
            f"{names} exists, and is none that names rows of features: it must begin with "
            f"{','.join(_COLUMNS)!r}. It would have been written over. Nothing was read. Name "
            "another --output, or move it."
        )


@contextmanager
def feature_file(path: Path, shape: Sequence[int]) -> Iterator[Add]:
    """Yield a function that adds a row; both files are there when the block ends, or neither.

    Rows are written as they come, so that memory holds none of them.

    Parameters
    ----------
    path : Path
        A ``.npy`` file: float32 of shape (rows, *shape).
    shape : sequence of int
        Of one row.
    """
    rows = 0
    # The CSV ends first, so that it is there when the array is.
    with atomic_file(path) as array, atomic_file(names_beside(path)) as names:
        text = io.TextIOWrapper(names, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        array.write(_head(0, shape))

        def add(name: str, row: npt.NDArray[np.float32]) -> None:
            nonlocal rows
            array.write(np.asarray(row, "<f4").reshape(shape).tobytes())
            table.writerow([rows, name])
            rows += 1

        yield add
        text.detach()
        # NumPy leaves room in the header for rows to be appended: it is as long for any number.
        array.seek(0)
        array.write(_head(rows, shape))


def _head(rows: int, shape: Sequence[int]) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (rows, *shape)}
    )
    return head.getvalue()

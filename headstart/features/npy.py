"""``.npy`` files written one row at a time, atomically: all rows are never in memory.

A memory-mapped array of NumPy's own is a full-size file of zeros from the start, so that a writer
that is killed leaves something that looks finished.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_file


def write_npy(
    path: Path, rows: int, shape: Sequence[int], dtype: str, vectors: Iterable[npt.ArrayLike]
) -> str:
    """Write ``rows`` arrays of one shape as a ``.npy``, one at a time, atomically.

    Parameters
    ----------
    path : Path
    rows : int
        Number of arrays.
    shape : sequence of int
        Of each array.
    dtype : str
        Such as ``float16``; written in little-endian order.
    vectors : iterable of array
        Read once, held one at a time.

    Returns
    -------
    str
        Hex sha256 of the file.

    Raises
    ------
    HeadstartError
        If a value is not a finite number in ``dtype``.
    ValueError
        If ``vectors`` yields another number of arrays or another shape.
    """
    with atomic_file(path) as file:
        return fill_npy(file, rows, shape, dtype, vectors, path.name)


def fill_npy(
    file: BinaryIO, rows: int, shape: Sequence[int], dtype: str,
    vectors: Iterable[npt.ArrayLike], name: str,
) -> str:  # fmt: skip
    """Write rows like :func:`write_npy`, to an open file; ``name`` is for messages."""
    head = _head((rows, *shape), dtype)
    digest = hashlib.sha256(head)
    file.write(head)
    for row, vector in zip(range(rows), vectors, strict=True):
        content = _row_bytes(np.asarray(vector), tuple(shape), dtype, f"{name}, row {row}")
        digest.update(content)
        file.write(content)
    return digest.hexdigest()


def npy_bytes(shape: Sequence[int], dtype: str) -> int:
    """Return the size of the file that :func:`write_npy` writes for ``shape``, rows first."""
    values = int(np.prod(shape, dtype=np.int64))
    return len(_head(shape, dtype)) + np.dtype(dtype).itemsize * values


def _little_endian(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def _head(shape: Sequence[int], dtype: str) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": _little_endian(dtype).str, "fortran_order": False, "shape": tuple(shape)}
    )
    return head.getvalue()


def _row_bytes(vector: npt.NDArray[Any], shape: tuple[int, ...], dtype: str, where: str) -> bytes:
    if vector.shape != shape:
        raise ValueError(f"{where}: features of shape {vector.shape}, expected {shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = vector.astype(_little_endian(dtype))
    if not np.isfinite(converted).all():
        hint = ""
        if np.isfinite(vector).all():
            hint = " It is too large for float16; set extract_features.dtype to float32."
        raise HeadstartError(f"{where}: a feature is not a finite number in {dtype}.{hint}")
    return converted.tobytes()

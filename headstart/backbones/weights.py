"""Weights as a canonical ``.npz``: the same arrays are the same bytes, and nothing is unpickled.

A zip of uncompressed ``.npy`` members in sorted order with a fixed date, so that the md5 in
``dvc.lock`` depends on the numbers alone. NumPy opens it as it opens any ``.npz``.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_file

Weights = dict[str, npt.NDArray[np.float32]]

#: A larger file is not one of ours: the largest head (a hidden layer on a 7 × 7 × 2048 map) is far
#: below it.
MAX_BYTES = 8 << 30
_MAX_HEADER = 4096
_DTYPE, _HALF = np.dtype("<f4"), np.dtype("<f2")


def write_npz(
    path: Path, arrays: Mapping[str, npt.NDArray[np.float32]], *, half: bool = False
) -> None:
    """Write float32 arrays; the bytes depend on names and numbers alone.

    Parameters
    ----------
    path : Path
        Replaced atomically.
    arrays : mapping of str to ndarray of float32, any shape
        All finite.
    half : bool
        Round them to float16, which halves the file.

    Raises
    ------
    ValueError
        For a dtype other than float32, or a number that is not finite: a bug of the caller, which
        must never reach a file.
    """
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            array = arrays[name]
            if array.dtype != np.float32:
                raise ValueError(f"{name} is {array.dtype}, not float32")
            # Not ascontiguousarray, which makes a number without dimensions one with one.
            with np.errstate(over="ignore"):  # Refused below.
                stored = np.asarray(array, _HALF if half else _DTYPE, order="C")
            if not np.isfinite(stored).all():
                raise ValueError(f"{name} holds numbers that are not finite")
            content = io.BytesIO()
            np.lib.format.write_array(content, stored, version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, also where it is written on Windows.
            member.external_attr = 0o644 << 16
            archive.writestr(member, content.getvalue())


def read_npz(path: Path, expect: Mapping[str, tuple[int, ...]] | None = None) -> Weights:
    """Read what :func:`write_npz` wrote.

    Parameters
    ----------
    path : Path
        The file.
    expect : mapping of str to shape, optional
        Names and shapes that the file must hold, no more and no less.

    Raises
    ------
    CorruptFileError
        Naming the file and the array that is absent, unknown, damaged, of another shape or dtype,
        or not finite. Nothing larger than the file itself is ever allocated.
    """
    if not path.is_file():
        raise CorruptFileError(f"{path} does not exist. Run the stage that writes it again.")
    if path.stat().st_size > MAX_BYTES:
        raise CorruptFileError(f"{path} is larger than {MAX_BYTES} bytes: no weights of ours.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path.stat().st_size)
            found = {
                member.filename.removesuffix(".npy"): _member(archive, member, path)
                for member in members
            }
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise CorruptFileError(f"{path} is damaged: {error}.") from error
    if expect is not None:
        _compare(path, {name: array.shape for name, array in found.items()}, expect)
    return found


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    # Compressed or overlapping members could ask for any amount of memory.
    if sum(member.file_size for member in members) > size:
        raise zipfile.BadZipFile("its members unpack to more than the file holds")
    if len({member.filename for member in members}) != len(members):
        raise zipfile.BadZipFile("an array stands in it twice")


def _member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path
) -> npt.NDArray[np.float32]:
    # A compressed member could unpack to more than the file's size; ours never are.
    if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".npy"):
        raise CorruptFileError(f"{path}: {member.filename!r} is not an uncompressed .npy array.")
    try:
        return _array(archive.read(member))
    except ValueError as error:
        raise CorruptFileError(f"{path}: {member.filename!r} is damaged: {error}.") from error


def _array(content: bytes) -> npt.NDArray[np.float32]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"format version {version}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER)
    if dtype not in {_DTYPE, _HALF} or fortran:
        raise ValueError(f"dtype {dtype}{' in Fortran order' * fortran}, expected float32")
    body = content[stream.tell() :]
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(body)} bytes, not those of shape {shape}")
    array = np.frombuffer(body, dtype).reshape(shape).astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("it holds numbers that are not finite")
    return array


def _compare(
    path: Path, found: Mapping[str, tuple[int, ...]], expect: Mapping[str, tuple[int, ...]]
) -> None:
    faults = [f"{name} is missing" for name in sorted(set(expect) - set(found))]
    faults += [f"{name} is unknown" for name in sorted(set(found) - set(expect))]
    faults += [
        f"{name} has shape {found[name]}, expected {tuple(expect[name])}"
        for name in sorted(set(found) & set(expect))
        if found[name] != tuple(expect[name])
    ]
    if faults:
        raise CorruptFileError(
            f"{path} does not hold the weights that its model describes: {'; '.join(faults)}. "
            "Run the stage that writes it again."
        )

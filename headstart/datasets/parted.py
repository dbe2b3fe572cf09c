"""Tables of many images, as a folder of parts: ``images.csv/000.csv`` and so on.

A table of up to 32,768 images is one CSV file. A larger one is a folder of that name, as Dask and
Spark write it, whose parts hold the images of one shard each (:mod:`headstart.datasets.parts`): ten
new images then change ten small files, and DVC's cache does not grow by the whole table.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.csv_text import csv_text, neutral_csv, neutral_table
from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_folder, write_text
from headstart.datasets.parts import part_of, parts

#: Images up to which a table is one file.
WHOLE = 32_768
_AT_ONCE = 64  # parts that are read as one: a few megabytes


def part_name(part: int, ending: str = "csv") -> str:
    """Return the file name of a part."""
    return f"{part:03}.{ending}"


def parts_of_rows(ids: Iterable[str], count: int) -> npt.NDArray[np.int64]:
    """Return the part of each row by its ``image_id``."""
    listed = ids.tolist() if isinstance(ids, pd.Series) else list(ids)
    with suppress(ValueError):  # All at once, unless an id is no SHA-256.
        numbers = bytes.fromhex("".join([image_id[:8] for image_id in listed]))
        if len(numbers) == 4 * len(listed):
            return np.frombuffer(numbers, ">u4").astype(np.int64) % count
    return np.array([part_of(image_id, count) for image_id in listed], np.int64)


def write_parted(path: Path, table: pd.DataFrame, whole: int = WHOLE) -> None:
    """Write a table with a column ``image_id`` as one CSV file or, if it is large, as a folder."""
    count = parts(table["image_id"].nunique(), whole)
    if count == 1:
        if path.is_dir():
            shutil.rmtree(path)
        write_text(path, csv_text(table))
        return
    with atomic_folder(path) as folder:
        for number, own in enumerate(divided(neutral_table(table), count)):
            content = neutral_csv(own)
            (folder / part_name(number)).write_text(content, encoding="utf-8", newline="\n")


def divided(table: pd.DataFrame, count: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of each part, in their order."""
    part = parts_of_rows(table["image_id"], count)
    table = table.iloc[np.argsort(part, kind="stable")]
    bounds = np.searchsorted(np.sort(part), np.arange(count + 1))
    for low, high in pairwise(bounds):
        yield table.iloc[low:high]


def contents_of(path: Path) -> Iterator[Path | io.BytesIO]:
    """Yield a table of either kind as one or more CSV files, so that memory holds one as text.

    Raises
    ------
    CorruptFileError
        If parts are missing, or their columns differ.
    """
    if not path.is_dir():
        yield path
        return
    names = sorted(each.name for each in path.iterdir())
    expected = [part_name(number) for number in range(len(names))]
    if names != sorted(expected):
        absent = min(set(expected) - set(names))
        raise CorruptFileError(f"{path}: of {len(names):,} parts, {absent} is missing.")
    yield from joined([path / name for name in expected])


def joined(files: Sequence[Path]) -> Iterator[io.BytesIO]:
    """Yield CSV files of the same columns as fewer and larger ones.

    Raises
    ------
    CorruptFileError
        If their columns differ.
    """
    head = b""
    for start in range(0, len(files), _AT_ONCE):
        texts = []
        for path in files[start : start + _AT_ONCE]:
            first, _, rest = path.read_bytes().partition(b"\n")
            if (head or first) != first:
                raise CorruptFileError(f"{path}: expected the columns {head!r}, got {first!r}.")
            head = first
            texts.append(rest)
        yield io.BytesIO(b"\n".join([head, b"".join(texts)]))


def in_order(path: Path, table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return a table that was read in the order that it was written in.

    Parameters
    ----------
    path : Path
    table : DataFrame
        Read from :func:`contents_of`.
    order : sequence of str
        The columns by which it was sorted.

    Raises
    ------
    CorruptFileError
        If the parts are not those of its images.
    """
    if not path.is_dir():
        return table
    count = len(list(path.iterdir()))
    part = parts_of_rows(table["image_id"], count)
    if count != parts(table["image_id"].nunique(), 1) or (np.diff(part) < 0).any():
        raise CorruptFileError(
            f"{path}: {count:,} parts are not those of {table['image_id'].nunique():,} images."
        )
    return table.sort_values(list(order), kind="stable", ignore_index=True)

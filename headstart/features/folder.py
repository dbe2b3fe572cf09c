"""The features folder: what heads are trained on, with all that is needed to trust it.

``train.npy``, ``validation.npy``, ``test.npy`` hold one row per image in the manifest's order;
``train.csv`` and so on name image and label of each row; ``features.json`` names the backbone, the
classes, the shapes and the sha256 of every file. With augmented views, the rows of the training
images themselves come first, then those of their view 1, and so on. Files are written row by row
and read as memory maps. The same content gives the same bytes. A split of more than 4,096 images is
a folder of parts, ``train/000.npy`` and so on (:mod:`headstart.features.parted_array`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.csv_text import csv_text
from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import atomic_folder, sha256_file, write_json, write_text
from headstart._utils.records import read_record
from headstart.datasets.manifests import SPLITS, read_table
from headstart.datasets.parted import part_name, parts_of_rows
from headstart.features.header import FeaturesHeader, PartEntry, SplitEntry
from headstart.features.npy import npy_bytes, write_npy
from headstart.features.parted_array import (
    ORDER,
    PART_ROWS,
    PartedArray,
    Vectors,
    earlier_parts,
    part_count,
    write_parts,
)
from headstart.features.store import fingerprint

HEADER = "features.json"
#: Columns of a row table. ``view``: 0 is the image itself.
ROWS: Mapping[str, str] = {"image_id": "str", "label": "str", "view": "int64"}
_MEND = "Delete the folder and run extract_features again: what is cached costs no pass."

Array = npt.NDArray[np.float32] | npt.NDArray[np.float16]


def row_table(images: pd.DataFrame, views: int = 0) -> pd.DataFrame:
    """Return the row table of manifest rows: the images in their order, then each of the views.

    It has the column ``path`` if the manifest rows have it.
    """
    columns = [column for column in PART_ROWS if column in images and column != "view"]
    parts = [images[columns].assign(view=view) for view in range(views + 1)]
    types = {column: PART_ROWS[column] for column in (*columns, "view")}
    return pd.concat(parts, ignore_index=True).astype(types)


def require_rows(split: str, count: int) -> None:
    """Refuse a split without images.

    Raises
    ------
    HeadstartError
        If ``count`` is 0.
    """
    if not count:
        raise HeadstartError(
            f"The {split} split has no images, so a model could not be "
            f"{'trained' if split == 'train' else 'measured'} on it. Nothing was written. "
            "Add images, or change `split` or `sample` in params.yaml."
        )


def write_features(
    folder: Path,
    record: Mapping[str, Any],
    shape: tuple[int, ...],
    splits: Iterable[tuple[str, pd.DataFrame, Vectors]],
    *,
    views: int = 0,
    views_record: Mapping[str, Any] | None = None,
    cache: Path | None = None,
    **fields: Any,
) -> None:
    """Write a features folder; it appears when all of it is written, and replaces an older one.

    Parameters
    ----------
    folder : Path
    record : mapping
        The fingerprint record of the features.
    shape : tuple of int
        Shape of one image's features.
    splits : iterable of (name, rows, vectors)
        Of train, validation and test: a data frame from :func:`row_table`, and a function that
        yields an array for each row of a part of it. Vectors are held one at a time.
    views : int
        Number of augmented views of each image among the training rows.
    views_record : mapping, optional
        The fingerprint record of the views.
    cache : Path, optional
        DVC's cache, from which unchanged parts are copied.
    **fields
        ``backbone``, ``classes`` and ``dtype`` of :class:`FeaturesHeader`.

    Raises
    ------
    HeadstartError
        If a split has no rows, or a value does not fit the dtype.
    """
    fields |= _fingerprinted(record)
    if views:
        fields["views"] = {"count": views, **_fingerprinted(views_record or {})}
    origin = [fields["fingerprint"], fields["views"]["fingerprint"] if views else ""]
    entries, earlier = {}, earlier_parts(cache)
    with atomic_folder(folder) as beside:
        for name, rows, vectors in splits:
            require_rows(name, len(rows))
            target, dtype = beside / name, fields["dtype"]
            if part_count(rows) == 1:
                entries[name] = _write_whole(target, rows, shape, dtype, vectors)
            else:
                parts = write_parts(target, rows, shape, dtype, vectors, earlier, origin)
                entries[name] = SplitEntry(
                    shape=(len(rows), *shape),
                    parts=tuple(PartEntry(**part._asdict()) for part in parts),
                )
        header = FeaturesHeader.model_validate({**fields, "splits": entries})
        leave_out = set() if header.views else {"views"}
        write_json(beside / HEADER, header.model_dump(mode="json", exclude=leave_out))
    earlier.save()


def _write_whole(
    target: Path, rows: pd.DataFrame, shape: tuple[int, ...], dtype: str, vectors: Vectors
) -> SplitEntry:
    array, table = target.with_suffix(".npy"), target.with_suffix(".csv")
    digest = write_npy(array, len(rows), shape, dtype, vectors(rows))
    write_text(table, csv_text(rows[list(ROWS)]))
    return SplitEntry(shape=(len(rows), *shape), sha256_npy=digest, sha256_rows=sha256_file(table))


def _fingerprinted(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"fingerprint": fingerprint(record), "fingerprint_record": dict(record)}


class Features:
    """A features folder that was checked; see :func:`read_features`."""

    def __init__(self, folder: Path, header: FeaturesHeader) -> None:
        self.folder = folder
        self.header = header
        self._stored: dict[str, pd.DataFrame] = {}

    def array(self, split: str) -> Array:
        """Return the features of a split, read-only, shape (rows, ...).

        A memory map; or, of a split in parts, a
        :class:`headstart.features.parted_array.PartedArray`, which is indexed by rows and read
        there. ``numpy.asarray`` makes it an array in memory.
        """
        entry = self.header.splits[split]
        if entry.parts is None:
            array: Array = np.lib.format.open_memmap(self.folder / f"{split}.npy", mode="r")
            return array
        files = [path.with_suffix(".npy") for path in self._tables(split)]
        part = self._in_parts(split)["part"].to_numpy()
        return cast("Array", PartedArray(files, part, entry.shape[1:], self.header.dtype))

    def gathered(self, split: str) -> Array:
        """Return the same in one array or, of a large split in parts, in one file."""
        array: Any = self.array(split)
        return cast("Array", array.gathered() if isinstance(array, PartedArray) else array)

    def rows(self, split: str) -> pd.DataFrame:
        """Return the row table of a split: image_id, label, view."""
        if self.header.splits[split].parts is None:
            return read_table(self.folder / f"{split}.csv", ROWS, "a row table", _MEND)
        return self._in_parts(split)[list(ROWS)]

    def misplaced(self, split: str) -> bool:
        """Return whether a part of a split holds rows that do not belong to it."""
        counts = [part.rows for part in self.header.splits[split].parts or ()]
        found = self._as_stored(split)["part"].to_numpy()
        return not np.array_equal(found, np.repeat(np.arange(len(counts)), counts))

    def _in_parts(self, split: str) -> pd.DataFrame:
        """Return the row table of a split in parts, with the part of each row."""
        stored = self._as_stored(split)
        return stored.sort_values(list(ORDER), kind="stable", ignore_index=True)

    def _as_stored(self, split: str) -> pd.DataFrame:
        if split not in self._stored:
            tables = self._tables(split)
            stored = read_table(self.folder / split, PART_ROWS, "a row table", _MEND, files=tables)
            stored["part"] = parts_of_rows(stored["image_id"], len(tables))
            self._stored[split] = stored
        return self._stored[split]

    def _tables(self, split: str) -> list[Path]:
        count = len(self.header.splits[split].parts or ())
        return [self.folder / split / part_name(number) for number in range(count)]

    def images(self, split: str) -> pd.DataFrame:
        """Return image_id and label of a split's images in the manifest's order, without views.

        The features of the images themselves stand in the first rows of the array.
        """
        rows = self.rows(split)
        return rows.loc[rows["view"] == 0, ["image_id", "label"]].reset_index(drop=True)

    def labels(self, split: str) -> npt.NDArray[np.int32]:
        """Return the label of each row of a split as an index into the sorted classes."""
        return self.indices(self.rows(split))

    def indices(self, rows: pd.DataFrame) -> npt.NDArray[np.int32]:
        """Return the label of each row as an index into the sorted classes."""
        index = {name: number for number, name in enumerate(self.header.classes)}
        return np.array([index[label] for label in rows["label"].tolist()], np.int32)


def read_features(folder: Path) -> Features:
    """Open a features folder and check all of it: header, hashes, shapes, dtypes, rows.

    Raises
    ------
    CorruptFileError
        Naming the file and the place that differs.
    """
    features = Features(folder, read_record(folder / HEADER, FeaturesHeader, _MEND))
    for split in SPLITS:
        for fault in _faults(features, split):
            raise CorruptFileError(f"{fault}. {_MEND}")
    return features


def _faults(features: Features, split: str) -> Iterator[str]:
    """Yield the faults of a split's files; nothing is interpreted before its hash is checked."""
    header, entry = features.header, features.header.splits[split]
    table = features.folder / f"{split}.csv"
    if entry.parts is None:
        whole = PartEntry(
            rows=entry.shape[0],
            sha256_npy=entry.sha256_npy or "",
            sha256_rows=entry.sha256_rows or "",
        )
        yield from _faults_of_files(table, whole, entry.shape[1:], header.dtype)
    else:
        table = features.folder / split
        for number, part in enumerate(entry.parts):
            path = table / part_name(number)
            yield from _faults_of_files(path, part, entry.shape[1:], header.dtype)
        if features.misplaced(split):
            yield f"{table}: the parts hold other rows than belong to them, as {HEADER} counts"
    rows = features.rows(split)
    if len(rows) != entry.shape[0]:
        yield f"{table}: expected {entry.shape[0]} rows, got {len(rows)}"
    views = header.view_count if split == "train" else 0
    if not rows.equals(row_table(rows[rows["view"] == 0], views)):
        yield (
            f"{table}: expected every image once without a view and then once for each of {views} "
            f"views, as {HEADER} says; got other rows"
        )
    unknown = sorted(set(rows["label"]) - set(header.classes))
    if unknown:
        yield f"{table}: the labels {unknown} are not among the classes of {HEADER}"


def _faults_of_files(
    table: Path, entry: PartEntry, shape: tuple[int, ...], dtype: str
) -> Iterator[str]:
    path, expected = table.with_suffix(".npy"), (entry.rows, *shape)
    yield from _changed(path, entry.sha256_npy, npy_bytes(expected, dtype))
    yield from _changed(table, entry.sha256_rows)
    array = np.lib.format.open_memmap(path, mode="r")
    if (array.shape, array.dtype) != (expected, np.dtype(dtype)):
        yield (
            f"{path}: expected shape and dtype {expected}, {dtype}, as {HEADER} says; "
            f"got {array.shape}, {array.dtype}"
        )


def _changed(path: Path, wanted: str, size: int | None = None) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing, but {HEADER} names it"
    got = path.stat().st_size
    if size is not None and got != size:
        yield f"{path}: expected {size:,} bytes, got {got:,}"
    digest = sha256_file(path)
    if digest != wanted:
        yield (
            f"{path}: expected sha256 {wanted}, got {digest}: its content was changed after it was "
            "written"
        )

"""The features folder: what heads are trained on, with all that is needed to trust it.

``train.npy``, ``validation.npy``, ``test.npy`` hold one row per image in the manifest's order;
``train.csv`` and so on name image and label of each row; ``features.json`` names the backbone, the
classes, the shapes and the sha256 of every file. With augmented views, the rows of the training
images themselves come first, then those of their view 1, and so on. Files are written row by row
and read as memory maps. The same content gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, field_validator, model_validator

from headstart._utils.csv_text import csv_text
from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import atomic_folder, sha256_file, write_json, write_text
from headstart._utils.records import Record, read_record
from headstart.backbones.record import BackboneSummary
from headstart.datasets.manifests import SPLITS, read_table
from headstart.features.npy import npy_bytes, write_npy
from headstart.features.store import fingerprint

HEADER = "features.json"
#: Columns of a row table. ``view``: 0 is the image itself.
ROWS: Mapping[str, str] = {"image_id": "str", "label": "str", "view": "int64"}
_MEND = "Delete the folder and run extract_features again: what is cached costs no pass."

Array = npt.NDArray[np.float32] | npt.NDArray[np.float16]


class SplitEntry(Record):
    """Shape of a split's array, rows first, and the sha256 of its two files."""

    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, description="a split has no rows")], ...],
        Field(min_length=1),
    ]
    sha256_npy: str
    sha256_rows: str


class Fingerprinted(Record):
    """The record of what decides a feature's bits, JSON values, and its hex sha256."""

    fingerprint: str
    fingerprint_record: dict[str, Any]

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if fingerprint(self.fingerprint_record) != self.fingerprint:
            raise ValueError("fingerprint is not that of fingerprint_record")
        return self


class ViewsEntry(Fingerprinted):
    """Augmented views that are cached of each training image: their number, and their store."""

    count: Annotated[int, Field(ge=1)]


class FeaturesHeader(Fingerprinted):
    """The content of features.json.

    Attributes
    ----------
    backbone : BackboneSummary
    classes : tuple of str
        Sorted labels of the whole manifest.
    dtype : {"float32", "float16"}
    splits : dict of str to SplitEntry
        Of train, validation and test.
    views : ViewsEntry or None
        None if no augmented views are cached.
    """

    format: Literal[1] = 1
    backbone: BackboneSummary
    classes: tuple[str, ...]
    dtype: Literal["float32", "float16"]
    splits: dict[str, SplitEntry]
    views: ViewsEntry | None = None

    @field_validator("classes")
    @classmethod
    def _are_sorted(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not classes or list(classes) != sorted(set(classes)):
            raise ValueError("classes are not sorted and distinct")
        return classes

    @field_validator("splits")
    @classmethod
    def _fit_together(cls, splits: dict[str, SplitEntry]) -> dict[str, SplitEntry]:
        if sorted(splits) != sorted(SPLITS):
            raise ValueError(f"the splits are {sorted(splits)}, expected {sorted(SPLITS)}")
        if len({entry.shape[1:] for entry in splits.values()}) != 1:
            raise ValueError("the splits have different feature shapes")
        return splits

    @property
    def view_count(self) -> int:
        """Augmented views that are cached of each training image."""
        return 0 if self.views is None else self.views.count

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        return self.splits["train"].shape[1:]


def row_table(images: pd.DataFrame, views: int = 0) -> pd.DataFrame:
    """Return the row table of manifest rows: the images in their order, then each of the views."""
    plain = images[["image_id", "label"]]
    parts = [plain.assign(view=view) for view in range(views + 1)]
    return pd.concat(parts, ignore_index=True).astype(dict(ROWS))


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
    splits: Iterable[tuple[str, pd.DataFrame, Iterable[npt.ArrayLike]]],
    *,
    views: int = 0,
    views_record: Mapping[str, Any] | None = None,
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
        Of train, validation and test: a data frame with the columns of :data:`ROWS`, and an array
        for each of its rows, in the same order. Vectors are read once and held one at a time.
    views : int
        Number of augmented views of each image among the training rows.
    views_record : mapping, optional
        The fingerprint record of the views.
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
    entries = {}
    with atomic_folder(folder) as beside:
        for name, rows, vectors in splits:
            require_rows(name, len(rows))
            table = beside / f"{name}.csv"
            digest = write_npy(beside / f"{name}.npy", len(rows), shape, fields["dtype"], vectors)
            write_text(table, csv_text(rows[list(ROWS)]))
            entries[name] = SplitEntry(
                shape=(len(rows), *shape), sha256_npy=digest, sha256_rows=sha256_file(table)
            )
        header = FeaturesHeader.model_validate({**fields, "splits": entries})
        leave_out = set() if header.views else {"views"}
        write_json(beside / HEADER, header.model_dump(mode="json", exclude=leave_out))


def _fingerprinted(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"fingerprint": fingerprint(record), "fingerprint_record": dict(record)}


class Features:
    """A features folder that was checked; see :func:`read_features`."""

    def __init__(self, folder: Path, header: FeaturesHeader) -> None:
        self.folder = folder
        self.header = header

    def array(self, split: str) -> Array:
        """Return the features of a split as a read-only memory map, shape (rows, ...)."""
        array: Array = np.lib.format.open_memmap(self.folder / f"{split}.npy", mode="r")
        return array

    def rows(self, split: str) -> pd.DataFrame:
        """Return the row table of a split: image_id, label, view."""
        return read_table(self.folder / f"{split}.csv", ROWS, "a row table", _MEND)

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
        return np.array([index[label] for label in rows["label"]], np.int32)


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
    path, table = features.folder / f"{split}.npy", features.folder / f"{split}.csv"
    yield from _changed(path, entry.sha256_npy, npy_bytes(entry.shape, header.dtype))
    yield from _changed(table, entry.sha256_rows)
    array, rows = features.array(split), features.rows(split)
    if (array.shape, array.dtype) != (entry.shape, np.dtype(header.dtype)):
        yield (
            f"{path}: expected shape and dtype {entry.shape}, {header.dtype}, as {HEADER} says; "
            f"got {array.shape}, {array.dtype}"
        )
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

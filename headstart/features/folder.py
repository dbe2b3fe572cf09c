"""The features folder: what the heads learn from, and all that is needed to trust it.

``train.npy``, ``validation.npy``, ``test.npy`` hold one row an image in the manifest's order;
``train.csv`` and so on say which image and label each row belongs to; ``features.json`` names the
base, the classes, the shapes and the sha256 of every file. Where augmented views are recorded, the
rows of the training images as they are come first, then those of their view 1, and so on. Written
row by row, read as a map of the file: neither needs memory for all images. The same content gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import atomic_folder, sha256_file, write_json, write_text
from headstart.datasets.manifests import SPLITS, read_table
from headstart.features.header import (
    BACKBONE,
    FORMAT,
    HEADER,
    MEND,
    FeaturesHeader,
    SplitEntry,
    read_header,
)
from headstart.features.npy import DTYPES, npy_bytes, write_npy
from headstart.features.store import fingerprint

#: Columns of a row table. ``view``: 0 is the image as it is.
ROWS: Mapping[str, str] = {"image_id": "str", "label": "str", "view": "int64"}

Array = npt.NDArray[np.float32] | npt.NDArray[np.float16]


def row_table(images: pd.DataFrame, views: int = 0) -> pd.DataFrame:
    """The row table of manifest rows, in their order: first as they are, then each of the views."""
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


class FeaturesWriter:
    """Writes a features folder, one split after another; use it in a ``with`` block.

    The folder appears when the block ends without an error, and replaces an older one.

    Parameters
    ----------
    folder : Path
        Where the features will stand.
    fingerprint_record, backbone, random_weights, classes, dtype
        As in :class:`FeaturesHeader`.
    feature_shape : sequence of int
        Shape of one image's features.
    views : int
        Augmented views that the training rows have of each image.
    views_record : mapping, optional
        The fingerprint record of their store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fingerprint_record: Mapping[str, Any],
        backbone: Mapping[str, Any],
        random_weights: bool,
        classes: Sequence[str],
        dtype: str,
        feature_shape: Sequence[int],
        views: int = 0,
        views_record: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.feature_shape = tuple(int(side) for side in feature_shape)
        self._header: dict[str, Any] = {
            "format": FORMAT,
            "fingerprint": fingerprint(fingerprint_record),
            "fingerprint_record": dict(fingerprint_record),
            "backbone": {name: backbone[name] for name in BACKBONE},
            "random_weights": bool(random_weights),
            "classes": list(classes),
            "dtype": dtype,
        }
        if views:
            record = dict(views_record or {})
            self._header["views"] = {
                "count": views,
                "fingerprint": fingerprint(record),
                "fingerprint_record": record,
            }
        self._splits: dict[str, SplitEntry] = {}
        self._stack = ExitStack()
        self._beside = folder

    def __enter__(self) -> Self:
        self._beside = self._stack.enter_context(atomic_folder(self.folder))
        return self

    def split(self, name: str, rows: pd.DataFrame, vectors: Iterable[npt.ArrayLike]) -> None:
        """Write one split.

        Parameters
        ----------
        name : str
            train, validation or test.
        rows : DataFrame
            Columns of :data:`ROWS`, one row for each of ``vectors``, in the same order.
        vectors : iterable of array of ``feature_shape``
            Read once, held one at a time.

        Raises
        ------
        HeadstartError
            If there are no rows, or a value does not fit the dtype.
        """
        if name not in SPLITS:
            raise ValueError(f"no such split: {name}")
        require_rows(name, len(rows))
        path = self._beside / f"{name}.npy"
        digest = write_npy(path, len(rows), self.feature_shape, self._header["dtype"], vectors)
        table = self._beside / f"{name}.csv"
        write_text(table, rows[list(ROWS)].to_csv(index=False, lineterminator="\n"))
        shape = (len(rows), *self.feature_shape)
        self._splits[name] = SplitEntry(shape, digest, sha256_file(table))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is raised here, or was in the block, removes the unfinished folder on its way out.
        with self._stack:
            if error is not None:
                raise error
            lacking = [name for name in SPLITS if name not in self._splits]
            if lacking:
                raise ValueError(f"these splits were not written: {lacking}")
            splits = {name: asdict(entry) for name, entry in self._splits.items()}
            write_json(self._beside / HEADER, {**self._header, "splits": splits})


class Features:
    """A features folder that was checked; see :func:`read_features`."""

    def __init__(self, folder: Path, header: FeaturesHeader) -> None:
        self.folder = folder
        self.header = header

    def array(self, split: str) -> Array:
        """Features of a split as a read-only map of its file, shape (rows, ...)."""
        array: Array = np.lib.format.open_memmap(self.folder / f"{split}.npy", mode="r")
        return array

    def rows(self, split: str) -> pd.DataFrame:
        """The row table of a split: image_id, label, view."""
        return read_table(self.folder / f"{split}.csv", ROWS, "a row table", MEND)

    def images(self, split: str) -> pd.DataFrame:
        """Image_id and label of a split's images in the manifest's order, whatever their views.

        The features of the images as they are stand in the first rows of the array.
        """
        rows = self.rows(split)
        return rows.loc[rows["view"] == 0, ["image_id", "label"]].reset_index(drop=True)


def read_features(folder: Path) -> Features:
    """Open a features folder and check all of it: header, hashes, shapes, dtypes, rows.

    Raises
    ------
    CorruptFileError
        Naming the file and the place that differs.
    """
    header = read_header(folder / HEADER)
    features = Features(folder, header)
    for split, entry in header.splits.items():
        _check_hash(folder / f"{split}.npy", entry.sha256_npy, npy_bytes(entry.shape, header.dtype))
        _check_hash(folder / f"{split}.csv", entry.sha256_rows)
        array, rows = features.array(split), features.rows(split)
        wanted = (entry.shape, np.dtype(DTYPES[header.dtype]))
        if (array.shape, array.dtype) != wanted:
            raise CorruptFileError(
                f"{folder / split}.npy: expected shape and dtype {wanted[0]}, {wanted[1]}, as "
                f"{HEADER} says; got {array.shape}, {array.dtype}. {MEND}"
            )
        if len(rows) != entry.shape[0]:
            raise CorruptFileError(
                f"{folder / split}.csv: expected {entry.shape[0]} rows, got {len(rows)}. {MEND}"
            )
        views = header.view_count if split == "train" else 0
        if not rows.equals(row_table(rows[rows["view"] == 0], views)):
            raise CorruptFileError(
                f"{folder / split}.csv: expected every image once as it is and then once for "
                f"each of {views} views, as {HEADER} says; got other rows. {MEND}"
            )
        strange = sorted(set(rows["label"]) - set(header.classes))
        if strange:
            raise CorruptFileError(
                f"{folder / split}.csv: the labels {strange} are not among the classes of "
                f"{HEADER}. {MEND}"
            )
    return features


def _check_hash(path: Path, wanted: str, size: int | None = None) -> None:
    """Compare a file with its hash before anything in it is interpreted."""
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing, but {HEADER} names it. {MEND}")
    got = path.stat().st_size
    if size is not None and got != size:
        raise CorruptFileError(f"{path}: expected {size:,} bytes, got {got:,}. {MEND}")
    digest = sha256_file(path)
    if digest != wanted:
        raise CorruptFileError(
            f"{path}: expected sha256 {wanted}, got {digest}: its content was changed after it was "
            f"written. {MEND}"
        )

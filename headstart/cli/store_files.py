"""The features of one fingerprint as files: a folder with ``features.npy``, or Parquet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.extras import needs_extra
from headstart._utils.files import atomic_file, atomic_folder, write_json, write_text
from headstart._utils.progress import progress
from headstart.features.npy import write_npy
from headstart.features.store import FeatureStore, split_key, view_key

ARRAY, TABLE, RECORD = "features.npy", "rows.csv", "record.json"
PARQUET = ".parquet"

_FORMAT = 1
_BATCH = 1024  # features that are in memory at once
_LARGEST_RECORD = 1 << 20
_ID = re.compile(r"[0-9a-f]{64}")
_META = b"headstart"

Rows = Iterator[tuple[str, npt.NDArray[np.float32]]]


class Exported(NamedTuple):
    """Features in files: their record, shape and number, and the key and value of each."""

    record: Mapping[str, Any]
    shape: tuple[int, ...]
    number: int
    rows: Rows


def write_folder(store: FeatureStore, folder: Path) -> int:
    """Write a folder with array, row table and record; return the number of rows."""
    keys = store.keys()
    lines = ["image_id,view", *("{},{}".format(*split_key(key)) for key in keys)]
    with atomic_folder(folder) as beside:
        write_npy(beside / ARRAY, len(keys), store.shape, "float32", _read(store, keys))
        write_text(beside / TABLE, "\n".join(lines) + "\n")
        write_json(beside / RECORD, _described(store.record, store.shape))
    return len(keys)


def write_parquet(store: FeatureStore, path: Path) -> int:
    """Write a Parquet file with image_id, view and the flat features; return the number of rows."""
    pa, parquet = _pyarrow(path)
    keys, width = store.keys(), int(np.prod(store.shape))
    schema = pa.schema(
        [
            ("image_id", pa.string()),
            ("view", pa.int64()),
            ("features", pa.list_(pa.float32(), width)),
        ],
        metadata={_META: json.dumps(_described(store.record, store.shape), sort_keys=True)},
    )
    values = _read(store, keys)
    with atomic_file(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for start in range(0, len(keys), _BATCH):
            part = [split_key(key) for key in keys[start : start + _BATCH]]
            flat = np.concatenate([each.ravel() for each in islice(values, len(part))])
            columns = [
                pa.array([image_id for image_id, _ in part]),
                pa.array([view for _, view in part], pa.int64()),
                pa.FixedSizeListArray.from_arrays(pa.array(flat), width),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return len(keys)


def read_exported(path: Path) -> Exported:
    """Open a folder or a Parquet file that the functions above have written.

    Raises
    ------
    CorruptFileError
        If it is neither, or its parts do not belong together.
    """
    try:
        return _read_parquet(path) if path.suffix == PARQUET else _read_folder(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{path} holds no features that `headstart store export` wrote: {error}. Nothing was "
            "imported."
        ) from error


def adopt(store: FeatureStore, exported: Exported) -> int:
    """Record the features that a store lacks; return their number.

    Raises
    ------
    CorruptFileError
        If a feature is not a finite number.
    """
    added = 0
    with store.filling(), progress(exported.number, "Importing", "row") as bar:
        while part := dict(islice(exported.rows, _BATCH)):
            lacking = store.missing(part)
            bad = next((key for key in lacking if not np.isfinite(part[key]).all()), None)
            if bad is not None:
                raise CorruptFileError(
                    f"The features of the image {bad[:12]}… are not finite numbers. The "
                    f"{added:,} before them were imported."
                )
            store.adopt([(key, part[key]) for key in lacking])
            added += len(lacking)
            bar.update(len(part))
    return added


def _read(store: FeatureStore, keys: list[str]) -> Iterator[npt.NDArray[np.float32]]:
    with progress(len(keys), "Exporting", "row") as bar:
        for key in keys:
            yield store.get(key)
            bar.update()


def _described(record: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    return {"format": _FORMAT, "record": record, "shape": list(shape)}


def _checked(described: Any) -> tuple[Mapping[str, Any], tuple[int, ...]]:
    if described["format"] != _FORMAT or not isinstance(described["record"], dict):
        raise ValueError(f"its format is {described['format']!r}, expected {_FORMAT}")
    return described["record"], tuple(int(side) for side in described["shape"])


def _key(image_id: object, view: int) -> str:
    if not isinstance(image_id, str) or not _ID.fullmatch(image_id) or not 0 <= view < 1 << 32:
        raise CorruptFileError(f"{image_id!r}, {view} is no image_id with its view.")
    return view_key(image_id, view)


def _read_folder(folder: Path) -> Exported:
    if (folder / RECORD).stat().st_size > _LARGEST_RECORD:
        raise ValueError(f"{RECORD} is larger than any record")
    record, shape = _checked(json.loads((folder / RECORD).read_bytes()))
    array = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        keys = [_key(row["image_id"], int(row["view"])) for row in csv.DictReader(file)]
    if array.dtype != np.dtype("<f4") or array.shape != (len(keys), *shape):
        raise ValueError(
            f"{ARRAY} is {array.dtype} of shape {array.shape}, expected float32 of shape "
            f"{(len(keys), *shape)}"
        )
    rows = ((key, np.asarray(array[number])) for number, key in enumerate(keys))
    return Exported(record, shape, len(keys), rows)


def _read_parquet(path: Path) -> Exported:
    pa, parquet = _pyarrow(path)
    try:
        file = parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise ValueError(error) from error
    record, shape = _checked(json.loads((file.schema_arrow.metadata or {})[_META]))
    width = int(np.prod(shape))

    def rows() -> Rows:
        for batch in file.iter_batches(_BATCH, columns=["image_id", "view", "features"]):
            flat = batch.column("features").flatten().to_numpy().astype(np.float32)
            values = flat.reshape(batch.num_rows, width).reshape(batch.num_rows, *shape)
            ids, views = batch.column("image_id").to_pylist(), batch.column("view").to_pylist()
            for image_id, view, value in zip(ids, views, values, strict=True):
                yield _key(image_id, view), value

    return Exported(record, shape, file.metadata.num_rows, rows())


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise HeadstartError(
            needs_extra(f"The Parquet file {path}", "parquet", "pyarrow")
            + f" Or name a folder, which gets {ARRAY}, {TABLE} and {RECORD}. Nothing was written."
        ) from error
    return pa, parquet

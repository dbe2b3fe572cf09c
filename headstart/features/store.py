"""The feature store: the output of a frozen backbone for each image, recorded once.

There is one SQLite file per fingerprint, outside of the pipeline's outputs (DVC deletes those
before a run), shared by every checkout, branch and experiment of a user. A fingerprint stands for
everything that decides a feature's bits except the image. The key of an image is the SHA-256 of its
bytes, and that of an augmented view also has the view's number (:func:`view_key`). Names, labels
and splits are not part of the key, so that renaming costs nothing.

Values are float32, whatever the pipeline writes: going to float16 and back costs no pass. Each
carries a checksum over fingerprint, key and value. A row that does not match it is never returned;
a file that SQLite cannot read is moved to another name, and what can be read of it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headstart._utils.cache import cache_folder
from headstart._utils.errors import CorruptFileError
from headstart.features.store_file import FAULTS, StoreFile, read_only_address, say

Floats = npt.NDArray[np.float32]
Row: TypeAlias = tuple[bytes, int, bytes]  # image, checksum, value

_AT_ONCE = 500  # rows that are looked up at once; every SQLite takes 999 values
_AT_ONCE_BYTES = 8 << 20
_ID = 64  # hexadecimal digits of an image's id
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value NOT NULL)",
    "CREATE TABLE IF NOT EXISTS features (id BLOB PRIMARY KEY, crc INTEGER, value BLOB)",
    "INSERT OR IGNORE INTO counters VALUES ('passes', 0), ('seconds', 0.0)",
)


@dataclass(frozen=True)
class Estimate:
    """The images that need a pass, and the seconds that a pass took so far."""

    missing: int
    seconds_per_pass: float | None


def canonical(record: Mapping[str, Any]) -> str:
    """Return the JSON of a record, the same for the same content: sorted, no blanks, no NaN."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(record: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of the record's canonical JSON."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def view_key(image_id: str, view: int) -> str:
    """Return the key of an image's view; view 0 is the image itself, whose key is its own id."""
    return f"{image_id}{view:08x}" if view else image_id


def split_key(key: str) -> tuple[str, int]:
    """Return the image and the view of a key."""
    return key[:_ID], int(key[_ID:] or "0", 16)


def row_bytes(shape: Sequence[int]) -> int:
    """Return the bytes of one image's float32 features."""
    return 4 * math.prod(shape)


def store_folder() -> Path:
    """Return the folder of the stores: ``$HEADSTART_CACHE/features``, or in the user's cache."""
    return cache_folder() / "features"


def estimate(record: Mapping[str, Any], ids: Iterable[str]) -> Estimate:
    """Count the distinct ``ids`` that the store lacks. Creates, repairs and verifies nothing."""
    wanted = list(dict.fromkeys(ids))
    path = store_folder() / f"{fingerprint(record)}.sqlite"
    if not path.exists():
        return Estimate(len(wanted), None)
    try:
        address = read_only_address(path)
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            query = "SELECT 1 FROM features WHERE id = ?"
            missing = sum(
                connection.execute(query, (bytes.fromhex(i),)).fetchone() is None for i in wanted
            )
            passes, seconds = (_counter(connection, name) for name in ("passes", "seconds"))
    except FAULTS:
        return Estimate(len(wanted), None)
    return Estimate(missing, seconds / passes if passes else None)


@dataclass(frozen=True)
class RecordedStore:
    """A store in the cache folder: what its features are of, and the passes that filled it.

    Attributes
    ----------
    path : Path
    record : mapping
        Everything but the image that decides the bits of a feature.
    shape : tuple of int
        Of one image's features.
    rows, passes : int
        Features that are recorded, and passes that ever were.
    seconds : float
        That these passes took.
    """

    path: Path
    record: Mapping[str, Any]
    shape: tuple[int, ...]
    rows: int
    passes: int
    seconds: float


def recorded_stores() -> Iterator[RecordedStore]:
    """Yield every readable store. Creates, repairs and verifies nothing."""
    for path in sorted(store_folder().glob("*.sqlite")):
        with contextlib.suppress(*FAULTS, OSError, ValueError, TypeError, KeyError):
            address = read_only_address(path)
            with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
                meta = dict(connection.execute("SELECT name, value FROM meta"))
                rows = int(connection.execute("SELECT count(*) FROM features").fetchone()[0])
                passes, seconds = (_counter(connection, name) for name in ("passes", "seconds"))
            record, shape = json.loads(meta["record"]), tuple(map(int, json.loads(meta["shape"])))
            if isinstance(record, dict) and fingerprint(record) == path.stem:
                yield RecordedStore(path, record, shape, rows, int(passes), seconds)


class FeatureStore(StoreFile):
    """The features of one fingerprint; use it in a ``with`` block and in one thread.

    Parameters
    ----------
    record : mapping
        Everything but the image that decides the bits of a feature: JSON values.
    shape : sequence of int
        Shape of one image's features.
    folder : Path, optional
        Folder of the store's file; by default :func:`store_folder`.

    Raises
    ------
    HeadstartError
        From any method, if the file cannot be used: its folder cannot be written, the disk is full.
    """

    def __init__(
        self, record: Mapping[str, Any], shape: Sequence[int], folder: Path | None = None
    ) -> None:
        self.record = dict(record)
        self.shape = tuple(int(side) for side in shape)
        self.fingerprint = fingerprint(record)
        meta = {"format": "1", "record": canonical(record), "shape": json.dumps(self.shape)}
        self._salt = zlib.crc32(bytes.fromhex(self.fingerprint))
        super().__init__((folder or store_folder()) / f"{self.fingerprint}.sqlite", meta, _SCHEMA)

    def missing(self, ids: Iterable[str], *, verify: bool = True) -> list[str]:
        """Return the ``ids`` that have no usable features, each once, in their order.

        With ``verify`` every row found is read and checked; damaged ones are removed, and missing.
        """
        wanted = list(dict.fromkeys(ids))
        return self.repairing(lambda: self._missing(wanted, verify=verify))

    def put_many(self, items: Sequence[tuple[str, npt.ArrayLike]], seconds: float = 0.0) -> None:
        """Record features and count their passes, all or nothing, in one transaction.

        Parameters
        ----------
        items : sequence of (image_id, features)
            Hex sha256 (or a :func:`view_key`), and an array of the store's shape, turned into
            float32.
        seconds : float
            Wall-clock time that these passes took.
        """
        rows = [self._row(image_id, features) for image_id, features in items]
        self.repairing(lambda: self._insert(rows, passes=len(rows), seconds=seconds))

    def adopt(self, items: Sequence[tuple[str, npt.ArrayLike]]) -> None:
        """Record features that were computed elsewhere: as :meth:`put_many`, and no pass counts."""
        rows = [self._row(image_id, features) for image_id, features in items]
        self.repairing(lambda: self._insert(rows, passes=0, seconds=0.0))

    def withdraw(self, ids: Sequence[str]) -> None:
        """Remove features that proved wrong, and do not count their passes any longer."""
        self.repairing(lambda: self._remove(ids, passes=len(ids)))

    def keys(self) -> list[str]:
        """Return every recorded key, sorted; its features are not checked."""
        query = "SELECT id FROM features ORDER BY id"
        return self.repairing(lambda: [row[0].hex() for row in self.connection.execute(query)])

    def get(self, image_id: str) -> Floats:
        """Return the checked features of an image, float32, of the store's shape.

        Raises
        ------
        CorruptFileError
            If there are none, or the recorded ones do not match their checksum.
        """
        row = self.repairing(lambda: self._read(image_id, "crc, value"))
        value = None if row is None else self._checked(bytes.fromhex(image_id), *row)
        if value is None:
            found = "none are recorded" if row is None else "they do not match their checksum"
            raise CorruptFileError(
                f"{self.path}: no features for the image {image_id}: {found}. "
                "Run the stage again: it computes what is missing."
            )
        return np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False).reshape(self.shape)

    def rows(self, ids: Iterable[str]) -> Iterator[Floats]:
        """Yield the features of ``ids`` in their order, one at a time."""
        for image_id in ids:
            yield self.get(image_id)

    def array(self, ids: Sequence[str]) -> Floats:
        """Return the features of ``ids`` in their order, float32 of shape (len(ids), *shape)."""
        found = np.empty((len(ids), *self.shape), np.float32)
        for index, row in enumerate(self.rows(ids)):
            found[index] = row
        return found

    @property
    def passes(self) -> int:
        """Number of passes through the backbone that were ever recorded in this store."""
        return int(self.repairing(lambda: _counter(self.connection, "passes")))

    @property
    def seconds_per_pass(self) -> float | None:
        """Mean wall-clock seconds per pass so far; None before the first."""
        seconds = self.repairing(lambda: _counter(self.connection, "seconds"))
        return seconds / self.passes if self.passes else None

    def _crc(self, key: bytes, value: bytes) -> int:
        return zlib.crc32(value, zlib.crc32(key, self._salt))

    def _row(self, image_id: str, features: npt.ArrayLike) -> Row:
        array = np.asarray(features)
        if array.shape != self.shape:
            raise ValueError(f"features of shape {array.shape} for a store of {self.shape}")
        key, value = bytes.fromhex(image_id), array.astype("<f4").tobytes()
        return key, self._crc(key, value), value

    def _checked(self, key: bytes, crc: object, value: object) -> bytes | None:
        size = row_bytes(self.shape)
        if not isinstance(value, bytes) or len(value) != size or crc != self._crc(key, value):
            return None
        return value

    def _read(self, image_id: str, columns: str) -> tuple[Any, ...] | None:
        query = f"SELECT {columns} FROM features WHERE id = ?"  # noqa: S608 - columns are ours
        key = (bytes.fromhex(image_id),)
        found: tuple[Any, ...] | None = self.connection.execute(query, key).fetchone()
        return found

    def _missing(self, ids: Sequence[str], *, verify: bool) -> list[str]:
        absent, damaged = [], []
        most = max(1, min(_AT_ONCE, _AT_ONCE_BYTES // row_bytes(self.shape)))
        for start in range(0, len(ids), most):
            some = ids[start : start + most]
            if self._all_sound(some, verify=verify):
                continue
            for image_id in some:
                row = self._read(image_id, "crc, value" if verify else "1, 1")
                if row is None:
                    absent.append(image_id)
                elif verify and self._checked(bytes.fromhex(image_id), *row) is None:
                    absent.append(image_id)
                    damaged.append(image_id)
        if damaged:
            # Where a value was hit, so may have been what finds the values.
            self.check_integrity()
            then = "They are not used."
            if not self.read_only:
                self._remove(damaged)
                then = "They were removed; the images are passed through the backbone again."
            say(
                f"Recorded features in {self.path} do not match their checksums: {len(damaged):,} "
                f"(the first: image {damaged[0]}). {then}"
            )
        return absent

    def _all_sound(self, ids: Sequence[str], *, verify: bool) -> bool:
        """Return whether all of these are there and sound, which one query tells in less time."""
        wanted = {bytes.fromhex(image_id) for image_id in ids}
        columns = "id, crc, value" if verify else "id, 1, 1"
        marks = ", ".join("?" * len(wanted))
        query = f"SELECT {columns} FROM features WHERE id IN ({marks})"  # noqa: S608 - ours
        for key, crc, value in self.connection.execute(query, list(wanted)):
            if key not in wanted or (verify and self._checked(key, crc, value) is None):
                return False  # A damaged index leads to the row of another image.
            wanted.remove(key)
        return not wanted

    def _remove(self, ids: Sequence[str], passes: int = 0) -> None:
        with self.transaction() as connection:
            keys = [(bytes.fromhex(image_id),) for image_id in ids]
            connection.executemany("DELETE FROM features WHERE id = ?", keys)
            subtract = "UPDATE counters SET value = value - ? WHERE name = 'passes'"
            connection.execute(subtract, (passes,))

    def _insert(self, rows: Iterable[Row], passes: int, seconds: float) -> None:
        with self.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            add = "UPDATE counters SET value = value + ? WHERE name = ?"
            connection.execute(add, (passes, "passes"))
            connection.execute(add, (seconds, "seconds"))

    def _salvage(self, old: sqlite3.Connection) -> int:
        """Copy the sound rows of a damaged file and its counters; return how many rows."""
        try:
            last = int(old.execute("SELECT max(rowid) FROM features").fetchone()[0] or 0)
            pages = int(old.execute("PRAGMA page_count").fetchone()[0])
        except (*FAULTS, TypeError, ValueError):
            return 0
        # Row numbers are given out one by one; a larger one is part of the damage.
        last = min(last, 10_000 + 1_000 * pages)
        kept = 0
        for start in range(1, last + 1, 1000):
            rows = list(self._readable(old, range(start, min(last, start + 999) + 1)))
            self._insert(rows, passes=len(rows), seconds=0.0)
            kept += len(rows)
        with contextlib.suppress(*FAULTS):
            passes, seconds = (_counter(old, name) for name in ("passes", "seconds"))
            self._insert([], passes=max(0, int(passes) - kept), seconds=seconds)
        return kept

    def _readable(self, old: sqlite3.Connection, rowids: Iterable[int]) -> Iterator[Row]:
        query = "SELECT id, crc, value FROM features WHERE rowid = ?"
        for rowid in rowids:
            # One by one: a damaged page then costs its own rows, not all that follow.
            with contextlib.suppress(*FAULTS):
                row = old.execute(query, (rowid,)).fetchone()
                if row and isinstance(row[0], bytes) and self._checked(*row) is not None:
                    yield row


def _counter(connection: sqlite3.Connection, name: str) -> float:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row and isinstance(row[0], int | float) else 0.0

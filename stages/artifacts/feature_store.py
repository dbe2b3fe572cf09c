"""The feature store: what a frozen base made of a picture, recorded once and for good.

One SQLite file a fingerprint, outside of the pipeline's outputs (DVC deletes those before a run),
shared by every checkout, branch and experiment of a user. A fingerprint stands for everything that
decides a feature's bits except the picture; within it, a picture is known by the sha256 of its
bytes. A name, a label or a split is not part of the key, so that renaming costs nothing.

Values are float32, whatever the pipeline writes: going to float16 and back costs no pass. Each
carries a checksum over fingerprint, key and value. A row that does not match it is never returned;
a file that SQLite cannot read is set aside under another name, and what can be read of it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import platformdirs

from stages.core.errors import CorruptFileError, HeadstartError

if sys.platform != "win32":  # There, two runs at once may pass a picture twice, and count both.
    import fcntl

Floats = npt.NDArray[np.float32]
Row: TypeAlias = tuple[bytes, int, bytes]  # picture, checksum, value
T = TypeVar("T")

_WAIT = 60.0  # seconds that a transaction waits for another process's
#: SQLite's own words for a file that is not what it should be. Our statements are fixed, so a
#: logical error (1) comes from a file with a strange schema, not from a wrong statement.
_DAMAGE = {1, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value NOT NULL)",
    "CREATE TABLE IF NOT EXISTS features (id BLOB PRIMARY KEY, crc INTEGER, value BLOB)",
    "INSERT OR IGNORE INTO counters VALUES ('passes', 0), ('seconds', 0.0)",
)


class DamagedStoreError(CorruptFileError):
    """SQLite cannot read the file, or it belongs to another fingerprint."""


@dataclass(frozen=True)
class Outlook:
    """What an extraction would find: pictures that need a pass, and seconds a pass took so far."""

    missing: int
    seconds_per_pass: float | None


def canonical(record: Mapping[str, Any]) -> str:
    """JSON of a record that is the same for the same content: sorted keys, no blanks, no NaN."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(record: Mapping[str, Any]) -> str:
    """Hex sha256 of the record's canonical JSON."""
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def store_folder() -> Path:
    """Where the stores lie: ``$HEADSTART_CACHE/features``, else in the user's cache folder."""
    given = os.environ.get("HEADSTART_CACHE")
    root = Path(given) if given else Path(platformdirs.user_cache_dir("headstart"))
    return root.expanduser().absolute() / "features"


def outlook(record: Mapping[str, Any], ids: Iterable[str]) -> Outlook:
    """How many distinct ``ids`` the store lacks. Creates, repairs and verifies nothing."""
    wanted = list(dict.fromkeys(ids))
    path = store_folder() / f"{fingerprint(record)}.sqlite"
    if not path.exists():
        return Outlook(len(wanted), None)
    address = f"{path.as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            query = "SELECT 1 FROM features WHERE id = ?"
            missing = sum(
                connection.execute(query, (bytes.fromhex(i),)).fetchone() is None for i in wanted
            )
            passes, seconds = (_counter(connection, name) for name in ("passes", "seconds"))
    except sqlite3.Error:
        return Outlook(len(wanted), None)
    return Outlook(missing, seconds / passes if passes else None)


class FeatureStore:
    """The features of one fingerprint. Open it with :meth:`open`, from one thread.

    Parameters
    ----------
    record : mapping
        What decides the bits of a feature besides the picture: JSON values.
    shape : tuple of int
        Shape of one picture's features.
    folder : Path, optional
        Folder of the store's file; by default :func:`store_folder`.

    Raises
    ------
    HeadstartError
        If the folder or file cannot be written.
    """

    def __init__(
        self, record: Mapping[str, Any], shape: Sequence[int], folder: Path | None = None
    ) -> None:
        self.record = dict(record)
        self.shape = tuple(int(side) for side in shape)
        self.fingerprint = fingerprint(record)
        self.path = (folder or store_folder()) / f"{self.fingerprint}.sqlite"
        self._salt = bytes.fromhex(self.fingerprint)
        self._inode = 0
        self._connection: sqlite3.Connection
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        self._connect()
        self._repairing(self._prepare)

    @classmethod
    def open(
        cls, record: Mapping[str, Any], shape: Sequence[int], folder: Path | None = None
    ) -> FeatureStore:
        """Open the store of ``record``, or begin one."""
        return cls(record, shape, folder)

    def missing(self, ids: Iterable[str], *, verify: bool = True) -> list[str]:
        """The ``ids`` without features that can be used, each once, in their order.

        With ``verify`` every row found is read and checked; damaged ones are removed, and missing.
        """
        wanted = list(dict.fromkeys(ids))
        absent = self._repairing(lambda: self._absent(wanted, verify=verify))
        damaged = [image_id for image_id, fault in absent.items() if fault]
        if damaged:
            self._repairing(lambda: self._remove(damaged))
            _say(
                f"{len(damaged):,} recorded features in {self.path} do not match their checksum "
                f"(the first: picture {damaged[0]}). They were removed; the pictures are passed "
                "through the base again."
            )
        return list(absent)

    def put(self, image_id: str, features: npt.ArrayLike, seconds: float = 0.0) -> None:
        """Record one picture's features; see :meth:`put_many`."""
        self.put_many([(image_id, features)], seconds)

    def put_many(self, items: Sequence[tuple[str, npt.ArrayLike]], seconds: float = 0.0) -> None:
        """Record features and count their passes, all or nothing, in one transaction.

        Parameters
        ----------
        items : sequence of (image_id, features)
            Hex sha256, and an array of the store's shape, turned into float32.
        seconds : float
            Wall-clock time that these passes took.
        """
        rows = [self._row(image_id, features) for image_id, features in items]
        self._repairing(lambda: self._insert(rows, passes=len(rows), seconds=seconds))

    def get(self, image_id: str) -> Floats:
        """The features of a picture, float32, of the store's shape; checked.

        Raises
        ------
        CorruptFileError
            If there are none, or the recorded ones do not match their checksum.
        """
        row = self._repairing(lambda: self._read(image_id))
        value = None if row is None else self._checked(bytes.fromhex(image_id), *row)
        if value is None:
            found = "none are recorded" if row is None else "they do not match their checksum"
            raise CorruptFileError(
                f"{self.path}: no features for the picture {image_id}: {found}. "
                "Run the stage again: it computes what is missing."
            )
        return np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False).reshape(self.shape)

    def rows(self, ids: Iterable[str]) -> Iterator[Floats]:
        """The features of ``ids`` in their order, one after another, in bounded memory."""
        for image_id in ids:
            yield self.get(image_id)

    @property
    def passes(self) -> int:
        """Passes through the base that were ever recorded in this store."""
        return int(self._repairing(lambda: _counter(self._connection, "passes")))

    @property
    def seconds_per_pass(self) -> float | None:
        """Wall-clock seconds a pass so far; None before the first."""
        passes, seconds = (
            self._repairing(lambda name=name: _counter(self._connection, name))  # type: ignore[misc]
            for name in ("passes", "seconds")
        )
        return seconds / passes if passes else None

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Be the only process that computes for this store; wait, and say so, for another to end.

        Two runs at once share the cores anyway. One after the other, the second finds what the
        first recorded, and no picture is passed twice: ask for what is missing in the block.
        """
        if sys.platform == "win32":
            yield
            return
        with self.path.with_suffix(".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                _say(f"Another run (process {holder}) is extracting the same features. Waiting …")
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def close(self) -> None:
        """Close the file; what was put is already recorded."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Rows

    def _crc(self, key: bytes, value: bytes) -> int:
        return zlib.crc32(value, zlib.crc32(key, zlib.crc32(self._salt)))

    def _row(self, image_id: str, features: npt.ArrayLike) -> Row:
        array = np.asarray(features)
        if array.shape != self.shape:
            raise ValueError(f"features of shape {array.shape} for a store of {self.shape}")
        key, value = bytes.fromhex(image_id), array.astype("<f4").tobytes()
        return key, self._crc(key, value), value

    def _checked(self, key: bytes, crc: object, value: object) -> bytes | None:
        size = 4 * int(np.prod(self.shape, dtype=np.int64))
        if not isinstance(value, bytes) or len(value) != size or crc != self._crc(key, value):
            return None
        return value

    def _read(self, image_id: str) -> tuple[object, object] | None:
        query = "SELECT crc, value FROM features WHERE id = ?"
        found: tuple[object, object] | None
        found = self._connection.execute(query, (bytes.fromhex(image_id),)).fetchone()
        return found

    def _absent(self, ids: Sequence[str], *, verify: bool) -> dict[str, bool]:
        """Ids that are missing (False) or damaged (True)."""
        absent = {}
        for image_id in ids:
            row = self._read(image_id) if verify else self._known(image_id)
            if row is None:
                absent[image_id] = False
            elif verify and self._checked(bytes.fromhex(image_id), *row) is None:
                absent[image_id] = True
        return absent

    def _known(self, image_id: str) -> tuple[object, object] | None:
        query = "SELECT 1, 1 FROM features WHERE id = ?"
        found: tuple[object, object] | None
        found = self._connection.execute(query, (bytes.fromhex(image_id),)).fetchone()
        return found

    def _insert(self, rows: Iterable[Row], passes: int, seconds: float) -> None:
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            add = "UPDATE counters SET value = value + ? WHERE name = ?"
            connection.execute(add, (passes, "passes"))
            connection.execute(add, (seconds, "seconds"))

    def _remove(self, ids: Sequence[str]) -> None:
        with self._transaction() as connection:
            keys = [(bytes.fromhex(image_id),) for image_id in ids]
            connection.executemany("DELETE FROM features WHERE id = ?", keys)

    # The file

    def _connect(self) -> None:
        try:
            self._connection = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            # Bytes, because a damaged text need not be UTF-8.
            self._connection.text_factory = bytes
            self._inode = self.path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _prepare(self) -> None:
        connection = self._connection
        # Before the first table: three vectors of 1,280 fit a page; one of 4 KiB wastes a third.
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        # Nothing is lost when the process is killed; a power cut may cost the last few rows.
        connection.execute("PRAGMA synchronous = NORMAL")
        wanted = {
            "format": "1",
            "record": canonical(self.record),
            "shape": json.dumps(self.shape),
        }
        with self._transaction():
            for statement in _SCHEMA:
                connection.execute(statement)
            insert = "INSERT OR IGNORE INTO meta VALUES (?, ?)"
            connection.executemany(insert, sorted(wanted.items()))
            found = dict(connection.execute("SELECT name, value FROM meta"))
        expected = {name.encode(): value.encode() for name, value in wanted.items()}
        if found != expected:
            raise DamagedStoreError("its record is not that of its name")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE: wait for the right to write here, where waiting is possible, not in the middle.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise

    def _repairing(self, action: Callable[[], T]) -> T:
        """Run ``action``; if the file is damaged, set it aside, begin anew and run it again."""
        try:
            return self._translated(action)
        except DamagedStoreError as damage:
            self._set_aside(str(damage))
            return self._translated(action)

    def _translated(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 1) & 0xFF in _DAMAGE:
                raise DamagedStoreError(str(error)) from error
            raise self._unusable(error) from error

    def _set_aside(self, why: str) -> None:
        self._connection.close()
        with _folder_locked(self.path.parent):
            # Another process may have seen the same damage and have put a fresh file here.
            same = self.path.exists() and self.path.stat().st_ino == self._inode
            aside = _free_name(self.path) if same else None
            if aside is not None:
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
            self._connect()
            self._translated(self._prepare)
            if aside is None:
                return
            kept = self._salvage(aside)
        _say(
            f"The feature store {self.path} is damaged ({why}). It was set aside as {aside.name}; "
            f"{kept:,} recorded features could be read and are kept, the others are computed again."
        )

    def _salvage(self, aside: Path) -> int:
        """Copy the sound rows of ``aside`` and its counters; return how many rows."""
        with contextlib.closing(sqlite3.connect(aside, timeout=_WAIT)) as old:
            old.text_factory = bytes
            try:
                last = int(old.execute("SELECT max(rowid) FROM features").fetchone()[0] or 0)
            except (sqlite3.Error, TypeError, ValueError):
                return 0
            kept = 0
            for start in range(1, last + 1, 1000):
                rows = list(self._readable(old, start, min(last, start + 999)))
                self._insert(rows, passes=len(rows), seconds=0.0)
                kept += len(rows)
            with contextlib.suppress(sqlite3.Error):
                passes, seconds = (_counter(old, name) for name in ("passes", "seconds"))
                self._insert([], passes=max(0, int(passes) - kept), seconds=seconds)
        return kept

    def _readable(
        self, old: sqlite3.Connection, first: int, last: int
    ) -> Iterator[Row]:
        for rowid in range(first, last + 1):
            # One by one: a damaged page then costs its own rows, not all that follow.
            with contextlib.suppress(sqlite3.Error):
                query = "SELECT id, crc, value FROM features WHERE rowid = ?"
                row = old.execute(query, (rowid,)).fetchone()
                if row and isinstance(row[0], bytes) and self._checked(*row) is not None:
                    yield row

    def _unusable(self, error: Exception) -> HeadstartError:
        return HeadstartError(
            f"The feature store {self.path} cannot be used: {error}. What was recorded is kept. "
            f"Make sure that the folder {self.path.parent} can be written and its disk has room, "
            "or name another folder in the environment variable HEADSTART_CACHE; then run again."
        )


def _counter(connection: sqlite3.Connection, name: str) -> float:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row and isinstance(row[0], int | float) else 0.0


def _free_name(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}.damaged-{number}")


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

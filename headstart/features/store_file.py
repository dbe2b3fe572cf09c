"""A SQLite file that many processes share; a damaged one is moved aside and not trusted.

The file of another user is only read, unless the owner could write what SQLite puts beside it: a
write-ahead log that the owner cannot write would lock the owner out. Reading puts nothing there.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self, TypeVar

from headstart._utils import faults, locks
from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.owners import create_shared, owner_name, shared_safely
from headstart._utils.tables import counted

if sys.platform != "win32":  # There, two runs at once may pass an image twice, and count both.
    import fcntl

T = TypeVar("T")

WAIT = 60.0  # seconds that a transaction waits for another process's
#: SQLite's own words for a file that is not what it should be. Our statements are fixed, so a
#: logical error (1) comes from a file with a strange schema, not from a wrong statement.
_DAMAGE = {1, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
#: A damaged schema also reaches Python as an error message that is not text.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
_META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"


class DamagedStoreError(CorruptFileError):
    """SQLite cannot read the file, or it is not the one that its name promises."""


class StoreFile:
    """The file of a store, in WAL mode; use it in a ``with`` block and in one thread.

    A subclass implements :meth:`_salvage`.

    Parameters
    ----------
    path : Path
        The file; it and its folder are made if absent.
    meta : mapping of str to str
        The entries that the file's own record must have.
    schema : sequence of str
        Statements that make the tables, if they are not there.

    Attributes
    ----------
    read_only : bool
        The file is another user's, or may not be written: nothing is created or changed.
    repairs : int
        How often the file was found damaged since it was opened. When the number changes, what was
        known of its content no longer holds.

    Raises
    ------
    HeadstartError
        If the folder or file cannot be used.
    """

    def __init__(self, path: Path, meta: Mapping[str, str], schema: Sequence[str]) -> None:
        self.path = path = path.absolute()
        self.repairs = 0
        self._meta, self._schema = dict(meta), tuple(schema)
        self._inode = 0
        self.connection: sqlite3.Connection
        self.read_only = path.is_file() and not shared_safely(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Locked, so that nobody moves the file away between opening it and looking at it.
            with self._folder_locked():
                if not self.read_only:
                    create_shared(path)
                self._connect()
        except OSError as error:
            raise self._unusable(error) from error
        self.repairing(self._prepare)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _salvage(self, old: sqlite3.Connection) -> int:
        """Copy the sound rows of a damaged file into this fresh one; return how many."""
        raise NotImplementedError

    def repairing(self, action: Callable[[], T]) -> T:
        """Run ``action``; if the file is damaged, move it aside, start a new one and run again."""
        try:
            return self._translated(action)
        except DamagedStoreError as damage:
            if self.read_only:
                raise self._unusable(damage) from damage
            self._move_aside(str(damage))
            return self._translated(action)
        except HeadstartError:
            # The same error occurs while another process moves the file aside.
            if not self._follow():
                raise
            return self._translated(action)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit the whole block or nothing of it."""
        self._require_writable()
        # IMMEDIATE: wait for the right to write here, where waiting is possible, not in the middle.
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            faults.reached("commit", self.path)
            self.connection.execute("COMMIT")
            faults.reached("committed", self.path)
        except BaseException:
            if self.connection.in_transaction:
                with contextlib.suppress(*FAULTS):
                    self.connection.execute("ROLLBACK")
            raise

    def check_integrity(self) -> None:
        """Read the whole file, and raise :class:`DamagedStoreError` if SQLite finds a fault."""
        found = self.connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != (b"ok",):
            raise DamagedStoreError(bytes(found[0]).decode("utf-8", "replace"))

    def filling(self) -> AbstractContextManager[None]:
        """Hold the right to compute for this store; wait for another process, with a message.

        Two runs at once share the cores anyway. One after the other, the second finds what the
        first recorded, and no image is passed twice: ask for what is missing in the block.

        Raises
        ------
        HeadstartError
            If the store may only be read: before anything is computed for it.
        """
        self._require_writable()
        busy = "Another run (process {holder}) is extracting the same features. Waiting …"
        lock = self.path.with_suffix(".lock")
        with contextlib.suppress(OSError):  # which the lock reports
            create_shared(lock, like=self.path)
        return locks.exclusive_lock(lock, busy)

    def close(self) -> None:
        """Close the connection; what was committed is recorded."""
        self.connection.close()

    def _connect(self) -> None:
        try:
            place = read_only_address(self.path) if self.read_only else self.path.as_uri()
            self.connection = sqlite3.connect(place, timeout=WAIT, isolation_level=None, uri=True)
            # Bytes, because a damaged text need not be UTF-8.
            self.connection.text_factory = bytes
            self._inode = self.path.stat().st_ino
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _prepare(self) -> None:
        connection = self.connection
        if self.read_only:
            self._check_meta()
            return
        # Before the first table: three vectors of 1,280 fit a page; one of 4 KiB wastes a third.
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        # Nothing is lost when the process is killed; a power cut may cost the last few rows.
        connection.execute("PRAGMA synchronous = NORMAL")
        with self.transaction():
            for statement in (_META, *self._schema):
                connection.execute(statement)
            insert = "INSERT OR IGNORE INTO meta VALUES (?, ?)"
            connection.executemany(insert, sorted(self._meta.items()))
            self._check_meta()

    def _check_meta(self) -> None:
        found = dict(self.connection.execute("SELECT name, value FROM meta"))
        expected = {name.encode(): value.encode() for name, value in self._meta.items()}
        if found != expected:
            raise DamagedStoreError("its record is not that of its name")

    def _translated(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.ProgrammingError:
            raise
        except FAULTS as error:
            if getattr(error, "sqlite_errorcode", 1) & 0xFF in _DAMAGE:
                raise DamagedStoreError(str(error)) from error
            raise self._unusable(error) from error

    def _follow(self) -> bool:
        """Open the file that another process has put in the place of ours, if so."""
        with self._folder_locked():
            if self.read_only or self._is_ours():
                return False
            self._renew()
            return True

    def _is_ours(self) -> bool:
        return self.path.exists() and self.path.stat().st_ino == self._inode

    def _renew(self) -> None:
        self.connection.close()
        self.repairs += 1
        create_shared(self.path)
        self._connect()
        self._translated(self._prepare)

    def _move_aside(self, why: str) -> None:
        with self._folder_locked():
            if not self._is_ours():  # Another process has seen the same damage.
                self._renew()
                return
            self.connection.close()
            aside = _free_name(self.path)
            # The file itself last: nobody then begins a fresh one beside an old log.
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
            self._renew()
            with contextlib.closing(sqlite3.connect(aside, timeout=WAIT)) as old:
                old.text_factory = bytes
                kept = self._translated(lambda: self._salvage(old))
        say(
            f"The feature store {self.path} is damaged ({why}). It was moved to {aside.name}; "
            f"{counted(kept, 'feature')} could be read and kept; the others are computed again."
        )

    def _folder_locked(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext() if self.read_only else _folder_locked(self.path.parent)

    def _require_writable(self) -> None:
        if self.read_only:
            raise HeadstartError(
                f"The feature store {self.path} lacks features, and can only be read here: it "
                f"belongs to {owner_name(self.path)}. Nothing was computed or changed. Name a "
                "folder of your own in the environment variable HEADSTART_CACHE and run again; or "
                "share the folder by a group (docs/storage.md)."
            )

    def _unusable(self, error: Exception) -> HeadstartError:
        stray = [
            Path(f"{self.path}{suffix}")
            for suffix in ("-wal", "-shm")
            if os.path.lexists(f"{self.path}{suffix}")
            and not os.access(f"{self.path}{suffix}", os.W_OK)
        ]
        if stray and not self.read_only:
            names = " and ".join(map(str, stray))
            return HeadstartError(
                f"The feature store {self.path} cannot be used: {error}. {names} cannot be "
                f"written: the owner is {owner_name(stray[0])}. Nothing was changed. When no other "
                f"run uses the store, delete {'it' if len(stray) == 1 else 'both'} and run again: "
                "at most the last features are computed again."
            )
        owner = f" It belongs to {owner_name(self.path)}." if self.read_only else ""
        return HeadstartError(
            f"The feature store {self.path} cannot be used: {error}.{owner} Recorded features are "
            f"kept. Make sure that the folder {self.path.parent} can be written and its disk has "
            "room, or name another folder in the environment variable HEADSTART_CACHE; then run "
            "again."
        )


def read_only_address(path: Path) -> str:
    """Return the address by which SQLite reads a file and creates nothing beside it.

    If there is a write-ahead log, its latest rows are read as well.
    """
    try:
        live = Path(f"{path}-wal").stat().st_size > 0
    except OSError:
        live = False
    return f"{path.as_uri()}?mode=ro&{'readonly_shm=1' if live else 'immutable=1'}"


def say(message: str) -> None:
    """Print a message to the terminal."""
    print(message, file=sys.stderr, flush=True)


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

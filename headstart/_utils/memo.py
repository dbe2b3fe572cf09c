"""Values that were computed once, by key: a SQLite file in the cache folder.

Losing one costs time and changes no result, so nothing here is repaired: a file that cannot be read
is deleted, and one that cannot be used is left alone. Every value has a checksum over all that it
depends on, its key and itself; a value that does not match it counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self

from headstart._utils.cache import cache_folder
from headstart._utils.owners import create_shared, shared_safely

_WAIT = 10.0  # seconds for another process's transaction
_CHECK = 16  # bytes of a checksum
_AT_ONCE = 500  # keys per query; every SQLite takes 999 values
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SCHEMA = "CREATE TABLE IF NOT EXISTS memo (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"


def verifying() -> bool:
    """Return whether ``HEADSTART_VERIFY`` asks to read all files, instead of trusting records."""
    return os.environ.get("HEADSTART_VERIFY", "") not in {"", "0"}


class Memo:
    """The values of one kind that depend on one record; may be used from several threads.

    Parameters
    ----------
    kind : str
        Name of a folder in the cache folder.
    record : mapping
        Everything but the key that decides a value, as JSON values.
    """

    def __init__(self, kind: str, record: Mapping[str, Any]) -> None:
        salt = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        self._digest = hashlib.blake2b(salt, digest_size=_CHECK)
        self.path = cache_folder() / kind / f"{hashlib.sha256(salt).hexdigest()[:32]}.sqlite"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened = False

    def get(self, key: bytes) -> bytes | None:
        """Return the checked value of a key; None if there is none."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the checked values of those keys that have one."""
        found = {}
        with self._lock, self._giving_up():
            connection, waiting = self._open(create=False), iter(keys)
            while connection is not None and (some := list(islice(waiting, _AT_ONCE))):
                marks = ", ".join("?" * len(some))
                query = f"SELECT key, value FROM memo WHERE key IN ({marks})"  # noqa: S608
                for key, stored in connection.execute(query, some):
                    value = self._checked(key, stored)
                    if value is not None:
                        found[key] = value
        return found

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Record all of the values, or none; values that cannot be recorded are computed again."""
        rows = [(key, self._check(key, value) + value) for key, value in items]
        with self._lock, self._giving_up():
            connection = self._open(create=True) if rows else None
            if connection is not None:
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._opened = None, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, *, create: bool) -> sqlite3.Connection | None:
        if self._opened or not (create or self.path.is_file()):
            return self._connection
        self._opened = True
        if create:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create_shared(self.path)
        if not shared_safely(self.path):  # another user's
            return None
        self._connection = sqlite3.connect(self.path, timeout=_WAIT, check_same_thread=False)
        self._connection.execute("PRAGMA page_size = 16384")  # three thumbnails fit one
        # A power cut may damage the file, which is then deleted.
        self._connection.execute("PRAGMA synchronous = OFF")
        with self._connection:
            self._connection.execute(_SCHEMA)
        return self._connection

    @contextlib.contextmanager
    def _giving_up(self) -> Any:
        """Continue without the file if it cannot be used; delete it if it is damaged."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
                _delete(self.path)
                self._opened = False

    def _check(self, key: bytes, value: bytes) -> bytes:
        digest = self._digest.copy()
        digest.update(len(key).to_bytes(4, "little") + key + value)
        return digest.digest()

    def _checked(self, key: bytes, stored: object) -> bytes | None:
        if not isinstance(stored, bytes) or stored[:_CHECK] != self._check(key, stored[_CHECK:]):
            return None
        return stored[_CHECK:]


def _delete(path: Path) -> None:
    for suffix in ("", "-journal"):
        with contextlib.suppress(OSError):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

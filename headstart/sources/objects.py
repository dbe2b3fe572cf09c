"""Class folders or an archive in object storage: s3://, gs://, abfs://.

Class folders are read by a listing that the project keeps (:mod:`headstart.objects.listing`): what
is in it is fetched, in the version that it names. Fetched images are kept in
``$HEADSTART_CACHE/downloads/images`` under their SHA-256, so that an interrupted run goes on where
it stopped, and an unchanged object is never fetched again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Lock

from headstart._utils.errors import ImageError, InputChangedError
from headstart._utils.files import sha256_bytes, write_bytes
from headstart._utils.memo import Memo
from headstart._utils.names import name_fault, shown
from headstart._utils.stamps import version_stamp
from headstart._utils.tables import counted
from headstart._utils.threads import in_threads
from headstart.archives.members import ArchiveLimits
from headstart.downloads.client import RetryPolicy
from headstart.objects.faults import ChangedError
from headstart.objects.file import fetch_object
from headstart.objects.listing import read_listing
from headstart.objects.place import Place, Stored
from headstart.objects.store import CONNECTIONS, open_store
from headstart.sources.archive import ArchiveSource
from headstart.sources.fetched import fetched_once, kept_image
from headstart.sources.source import Entry, Recorded

_BATCH = 256  # objects whose SHA-256 is recorded at once
_WRITERS = 64


class ObjectSource:
    """The objects of a listing, by sorted path.

    Parameters
    ----------
    place : Place
        The prefix of the class folders.
    listing : Path
    policy : RetryPolicy, optional

    Raises
    ------
    SourceError
        If there is no listing, or it is damaged or that of another place.
    """

    summary = ""

    def __init__(self, place: Place, listing: Path, policy: RetryPolicy | None = None) -> None:
        self._place, self._listing, self._policy = place, listing, policy
        self.origin = f"The prefix {place.url}"
        cut = len(place.key) + 1 if place.key else 0
        bucket = place.at(f"{place.scheme}://{place.bucket}").identity
        self._objects: dict[str, Stored] = {}
        self.entries: list[Entry] = []
        for stored in read_listing(listing, place).objects:
            entry = _entry(stored, stored.key[cut:], bucket)
            self.entries.append(entry)
            if entry.rejection is None:
                self._objects[entry.path] = stored
        self.entries.sort(key=lambda entry: entry.path)
        self._kept = KeptObjects(place)

    def absent(self, wanted: Collection[str]) -> int:
        """Return how many of the wanted objects a run would fetch."""
        return self._kept.absent(self._objects[path] for path in wanted)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted path, in sorted order.

        Raises
        ------
        InputChangedError
            If an object is not the listed one any more.
        SourceError
            If the server does not deliver it.
        """
        paths = [entry.path for entry in self.entries if entry.path in wanted]
        store = open_store(self._place, self._policy)

        def content(path: str) -> bytes:
            stored = self._objects[path]
            found = self._kept.read(stored) if stored.size else b""
            if found is None:
                found = store.read(stored)
                self._kept.add(stored, found)
            return found

        try:
            with closing(
                in_threads(
                    content,
                    paths,
                    workers=CONNECTIONS,
                    size=lambda path: self._objects[path].size,
                )
            ) as results:
                yield from results
        except ChangedError as error:
            raise InputChangedError(
                f"An object below {self._place.url}/ is not the one in {self._listing} any more "
                f"({error}): it was replaced or removed. Nothing was written. `headstart "
                "list-objects` shows what changed and writes the listing again; then run again."
            ) from None
        finally:
            self._kept.save()
            if store.repeated:
                again = counted(store.repeated, "request")
                print(f"{again} failed and succeeded later.", file=sys.stderr, flush=True)


class KeptObjects:
    """The objects of a place that were fetched, by their SHA-256.

    Parameters
    ----------
    place : Place
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._memo = Memo("objects", {})
        self._new: dict[bytes, bytes] = {}
        self._lock = Lock()
        self._writing = [Lock() for _ in range(_WRITERS)]  # equal bytes are written once at a time

    def read(self, stored: Stored) -> bytes | None:
        """Return the bytes of an object, checked; None if they are not kept."""
        digest = self._memo.get(self._key(stored))
        if digest is None:
            return None
        try:
            content = kept_image(digest.hex()).read_bytes()
        except OSError:
            return None
        return content if sha256_bytes(content) == digest.hex() else None

    def add(self, stored: Stored, content: bytes) -> None:
        """Keep the bytes of an object."""
        digest = sha256_bytes(content)
        target = kept_image(digest)
        with self._writing[int(digest[:4], 16) % _WRITERS]:
            write_bytes(target, content)
        with self._lock:
            self._new[self._key(stored)] = bytes.fromhex(digest)
            full = len(self._new) >= _BATCH
        if full:
            self.save()

    def absent(self, objects: Iterable[Stored]) -> int:
        """Return how many objects are not kept, without reading any."""
        keys = [self._key(stored) for stored in objects if stored.size]
        known = self._memo.get_many(keys)
        return sum(key not in known or not kept_image(known[key].hex()).is_file() for key in keys)

    def save(self) -> None:
        """Record what was kept."""
        with self._lock:
            new, self._new = self._new, {}
        self._memo.put_many(new.items())

    def _key(self, stored: Stored) -> bytes:
        place = self._place
        fields = [place.endpoint_url, place.scheme, place.bucket, stored.key]
        text = json.dumps([*fields, stored.size, stored.version])
        return bytes.fromhex(sha256_bytes(text.encode()))


def fetch_archive_object(
    place: Place,
    sha256: str,
    limits: ArchiveLimits,
    encoding: str | None = None,
    policy: RetryPolicy | None = None,
) -> ArchiveSource:
    """Return an archive in object storage, from the cache or fetched.

    Raises
    ------
    SourceError
        If it cannot be fetched, or has another SHA-256.
    UnsafeArchiveError
        If it holds what no archive of images needs.
    """
    with fetched_once(sha256) as (target, present):
        if not present:
            fetch_object(open_store(place, policy), target, sha256, limits.max_total_bytes)
    return ArchiveSource(target, None, limits, encoding)


def _entry(stored: Stored, path: str, bucket: str) -> Entry:
    fault = _fault(path)
    if fault:
        return Entry(shown(path), stored.size, ("bad_name", fault))
    stamp = version_stamp(stored.size, stored.version)
    name = f"{bucket}/{stored.key}"
    return Entry(path, stored.size, file=Recorded(name, stamp, "size and version"))


def _fault(path: str) -> str | None:
    """Return why a key cannot be a path below a folder; None if it can."""
    if "//" not in path and "/." not in path and path[0] not in "./" and path[-1] != "/":
        return name_fault(path)  # nearly all of a million keys
    parts = path.split("/")
    if ".." in parts:
        return "its name leads out of the prefix by '..'"
    if "" in parts or "." in parts:
        return "its name has an empty step or '.', which no folder has"
    return name_fault(path)

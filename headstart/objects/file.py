"""Fetch one large object to a file, in blocks, resumed where it stopped."""

from __future__ import annotations

import os
from pathlib import Path

from headstart._utils.disk import require_room
from headstart._utils.errors import SourceError
from headstart._utils.files import read_json, sha256_file, write_json
from headstart._utils.progress import progress
from headstart.objects.faults import ChangedError
from headstart.objects.place import Stored
from headstart.objects.store import ObjectStore

_BLOCK = 16 << 20
_MEGABYTE = 1_000_000


def fetch_object(store: ObjectStore, target: Path, sha256: str, max_bytes: int) -> None:
    """Fetch the object that a store's place names; ``target`` appears when it is complete.

    An unfinished file is kept beside it as ``NAME.part``, with its version in ``NAME.json``.

    Raises
    ------
    SourceError
        If there is no such object, it is too large, or has another SHA-256.
    """
    place = store.place
    stored = store.find(place.key)
    if stored is None:
        raise SourceError(
            f"There is no object {place.url} at {place.server}. Nothing was written. Check "
            "`download.url`; for class folders below it, set `download.sha256: null`."
        )
    if stored.size > max_bytes:
        raise SourceError(
            f"{place.url} has {stored.size:,} bytes; at most {max_bytes:,} are accepted, by "
            "`download.max_total_bytes`. Nothing was fetched. Raise it if you want the file."
        )
    part, note = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.json")
    try:
        _fetch(store, stored, part, note)
    except ChangedError as error:
        note.unlink(missing_ok=True)
        raise SourceError(
            f"{place.url} changed while it was fetched ({error}). Nothing was written. Run again."
        ) from None
    got = sha256_file(part)
    if got != sha256:
        part.unlink()
        note.unlink(missing_ok=True)
        raise SourceError(
            f"{place.url} is not the file that `download.sha256` names.\n  expected {sha256}\n"
            f"  got      {got}\nIt was deleted. If the object was replaced and the new one is the "
            "one you want, put its SHA-256 into the parameter."
        )
    part.replace(target)
    note.unlink(missing_ok=True)


def _fetch(store: ObjectStore, stored: Stored, part: Path, note: Path) -> None:
    """Fetch the bytes that an earlier, interrupted call has not."""
    version = {"place": store.place.identity, "size": stored.size, "version": stored.version}
    have = part.stat().st_size if part.exists() and _noted(note) == version else 0
    require_room(
        {part.parent: stored.size - have},
        "The missing bytes of the archive",
        "Make room, or name a folder on another disk in HEADSTART_CACHE.",
    )
    write_json(note, version)
    with (
        part.open("ab" if have else "wb") as file,
        progress(stored.size // _MEGABYTE, "Downloading", "MB") as bar,
    ):
        while have < stored.size:
            block = store.read(stored, have, min(have + _BLOCK, stored.size))
            file.write(block)
            have += len(block)
            bar.update(have // _MEGABYTE - bar.done)
        file.flush()
        os.fsync(file.fileno())


def _noted(note: Path) -> object:
    try:
        return read_json(note)
    except (OSError, ValueError):
        return None

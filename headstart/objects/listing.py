"""The listing of a prefix: each object with its bytes and version, in a CSV file that DVC watches.

A bucket cannot be watched: to list a million objects takes minutes. So the listing stands for it.
It pins what is fetched, ``git diff`` shows what is new, and a run that has nothing to do asks no
server. Characters beyond plain ASCII are percent-encoded, and so is ``%`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from headstart._utils.disk import amount
from headstart._utils.errors import SourceError
from headstart._utils.files import atomic_file
from headstart._utils.names import shown
from headstart._utils.tables import counted
from headstart.objects.place import Place, Stored
from headstart.objects.store import ObjectStore

#: Bound on the number of objects.
MOST = 5_000_000
_HEADER = "object,bytes,version"
_LONGEST = 16_384  # characters of a line: a key has at most 1,024 bytes
_PLAIN = re.compile(r"[^%\",\\\x00-\x20\x7f-\U0010ffff]*")
_NUMBER = re.compile(r"\d{1,18}")
_AGAIN = "`headstart list-objects` writes it again."


@dataclass(frozen=True)
class Listing:
    """The objects below a prefix, sorted by key.

    Attributes
    ----------
    place : Place
    objects : tuple of Stored
    """

    place: Place
    objects: tuple[Stored, ...]

    @property
    def bytes(self) -> int:
        """The sum of the sizes."""
        return sum(each.size for each in self.objects)


def list_objects(store: ObjectStore, max_bytes: int) -> Listing:
    """Ask the server for all objects below the place of a store.

    Objects that stand for a folder (``a/``, without bytes) are left out.

    Parameters
    ----------
    store : ObjectStore
    max_bytes : int
        Bound on the sum of their sizes.

    Raises
    ------
    SourceError
        If there are none, or more than the bounds allow.
    """
    place, found, total = store.place, [], 0
    for stored in store.objects(f"{place.key}/" if place.key else ""):
        if stored.key.endswith("/") and not stored.size:
            continue
        found.append(stored)
        total += stored.size
        if len(found) > MOST:
            raise SourceError(
                f"There are more than {MOST:,} objects below {place.url}. Nothing was written. "
                "Name a prefix inside of it in `download.url`."
            )
        if total > max_bytes:
            raise SourceError(
                f"{place.url} holds more than {max_bytes:,} bytes, the limit of "
                "`download.max_total_bytes`. Nothing was written. Raise it if you want the images."
            )
    if not found:
        raise _nothing(store)
    return Listing(place, tuple(sorted(found, key=lambda each: each.key)))


def _nothing(store: ObjectStore) -> SourceError:
    place = store.place
    single = store.find(place.key) if place.key else None
    if single is None:
        return SourceError(
            f"There are no objects below {place.url}/. Nothing was written. Check `download.url`: "
            "it is the prefix of the class folders, in upper and lower case as in the bucket."
        )
    return SourceError(
        f"{place.url} is one object of {single.size:,} bytes, and no prefix. Nothing was written. "
        "If it is an archive, put its SHA-256 into `download.sha256` (`sha256sum FILE` prints it)."
    )


def write_listing(path: Path, listing: Listing) -> None:
    """Write a listing; the same objects give the same bytes."""
    scheme, bucket = listing.place.scheme, listing.place.bucket
    with atomic_file(path) as file:
        file.write(f"{_HEADER}\n".encode())
        for each in listing.objects:
            line = f"{scheme}://{bucket}/{_quoted(each.key)},{each.size},{_quoted(each.version)}\n"
            file.write(line.encode())


def read_listing(path: Path, place: Place) -> Listing:
    """Read the listing of a place.

    Raises
    ------
    SourceError
        If it is none, or that of another place.
    """
    if path.is_dir():
        raise SourceError(
            f"`download.location` is {path}, which is a folder. With `download.source: "
            f"{place.scheme}` and no `sha256`, it names the listing of the objects. Nothing was "
            "written. Set `download.location: data/objects.csv`, then run `headstart "
            "list-objects`, which writes it."
        )
    return Listing(place, tuple(_rows(path, place)))


def _rows(path: Path, place: Place) -> Iterator[Stored]:
    start, before = f"{place.scheme}://{place.bucket}/", None
    inside = f"{place.key}/" if place.key else ""
    with path.open(encoding="ascii", errors="replace", newline="\n") as file:
        if file.readline(_LONGEST) != f"{_HEADER}\n":
            raise _damaged(path, 1, f"the first line is not {_HEADER}")
        for number in range(2, MOST + 3):
            line = file.readline(_LONGEST)
            if not line:
                return
            cells = line[:-1].split(",")
            if len(cells) != 3 or line[-1] != "\n" or not _NUMBER.fullmatch(cells[1]):
                raise _damaged(path, number, "it has not three cells, of which the second a number")
            key, version = cells[0][len(start) :], cells[2]
            if "%" in line:
                key, version = _unquoted(key), _unquoted(version)
            if not (cells[0].startswith(start) and key.startswith(inside) and key != inside):
                raise SourceError(
                    f"{path}, line {number:,}, is no object below {place.url}/, which "
                    f"`download.url` names: {shown(cells[0][:200])}. Nothing was written. The "
                    f"listing is that of another address. {_AGAIN}"
                )
            if before is not None and key <= before:
                raise _damaged(path, number, "the objects are not sorted, or one occurs twice")
            before = key
            yield Stored(key, int(cells[1]), version)
        raise _damaged(path, MOST + 2, f"it has more than {MOST:,} objects")


def _damaged(path: Path, number: int, why: str) -> SourceError:
    return SourceError(
        f"{path} is no listing of objects, or was edited: line {number:,}: {why}. Nothing was "
        f"written. {_AGAIN}"
    )


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):  # nearly all of a million keys
        return text
    content = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in content)


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Difference:
    """What changed from one listing to another, as keys."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return (
            f"{len(self.added):,} new, {len(self.changed):,} changed, {len(self.removed):,} removed"
        )


def difference(old: Iterable[Stored], new: Iterable[Stored]) -> Difference:
    """Return what changed from one listing to another."""
    before = {each.key: each for each in old}
    after = {each.key: each for each in new}
    return Difference(
        tuple(key for key in after if key not in before),
        tuple(key for key, each in after.items() if key in before and before[key] != each),
        tuple(key for key in before if key not in after),
    )


def described(listing: Listing) -> str:
    """Return the number of objects and bytes, and where they are."""
    count = counted(len(listing.objects), "object")
    return f"{count}, {amount(listing.bytes)}, below {listing.place.url}/"

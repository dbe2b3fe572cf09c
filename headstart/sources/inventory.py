"""The list of an archive's members, refusing what no honest archive of images holds.

Nothing is ever unpacked under a member's own name, so a hostile name could do no harm here. It is
refused all the same: an archive that tries is not to be trusted with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headstart._utils.errors import UnsafeArchiveError
from headstart.sources.entries import Entry, name_fault, shown

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Bounds:
    """How much an archive may unpack to.

    Parameters
    ----------
    max_total_bytes : int
        Sum of all members.
    max_files : int
        Number of members.
    max_ratio : int
        Unpacked to packed bytes, of a member and of the whole, where more than ``small`` unpack.
        Deflate reaches 1,032 on zeros; photos stay below 2 and simple drawings below 100.
    small : int
        Bytes.
    """

    max_total_bytes: int
    max_files: int = 2_000_000
    max_ratio: int = 200
    small: int = 10_000_000

    def check_ratio(self, what: str, unpacked: int, packed: int) -> None:
        """Refuse a decompression bomb."""
        if unpacked > self.small and unpacked > self.max_ratio * max(packed, 1):
            raise unsafe(
                what,
                f"unpacks from {packed:,} to {unpacked:,} bytes, more than {self.max_ratio} times "
                "its size, as decompression bombs do",
            )


class Inventory:
    """Collects members, checking each as it comes."""

    def __init__(self, archive: str, bounds: Bounds) -> None:
        self._archive = archive
        self._bounds = bounds
        self._total = 0
        self._entries: dict[str, Entry] = {}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The members taken so far, by path."""
        return self._entries

    def add(self, name: str, size: int) -> Entry:
        """Take a member that is a regular file.

        Raises
        ------
        UnsafeArchiveError
            If its name leads out of the archive or stands there twice, or the sum is too large.
        """
        path = self.checked(name)
        if path in self._entries:
            raise self.refused(name, "stands in it twice")
        fault = name_fault(path)
        entry = Entry(shown(path) if fault else path, size, ("bad_name", fault) if fault else None)
        self._entries[path] = entry
        self._total += size
        if size < 0:
            raise self.refused(name, "declares a negative size")
        if self._total > self._bounds.max_total_bytes:
            raise unsafe(
                self._archive,
                f"unpacks to more than the {self._bounds.max_total_bytes:,} bytes that "
                "`download.max_total_bytes` allows. Raise it if the images are wanted",
            )
        if len(self._entries) > self._bounds.max_files:
            raise unsafe(self._archive, f"holds more than {self._bounds.max_files:,} files")
        return entry

    def checked(self, name: str) -> str:
        """A member's path without ``.`` steps, if it stays inside of the archive."""
        if not name or "\0" in name:
            raise self.refused(name, "has no usable name")
        if "\\" in name:
            raise self.refused(name, "has a backslash in its name, a separator on some systems")
        if name.startswith("/") or _DRIVE.match(name):
            raise self.refused(name, "has an absolute path")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise self.refused(name, "leads out of its folder by '..'")
        if not parts:
            raise self.refused(name, "has no usable name")
        return "/".join(parts)

    def refused(self, name: str, fault: str) -> UnsafeArchiveError:
        """The error for one member."""
        return unsafe(self._archive, f"holds {shown(name)!r}, which {fault}")


def unsafe(archive: str, fault: str) -> UnsafeArchiveError:
    """The error for an archive that is refused as a whole."""
    return UnsafeArchiveError(
        f"{archive} {fault}. The whole archive was refused and nothing was written. If you trust "
        "where it comes from, unpack it yourself and use `download.source: folder`."
    )

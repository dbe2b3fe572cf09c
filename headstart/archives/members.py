"""The members of an archive, checked one by one against what no honest archive holds.

Members are never unpacked under names that were not checked. A hostile name is refused even where
it could do no harm: an archive that tries is not to be trusted with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from headstart._utils.errors import UnsafeArchiveError
from headstart._utils.names import name_fault, shown

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ArchiveLimits:
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
    too_large : str
        Ends the sentence "… unpacks to more than N bytes,": whose limit that is.
    instead : str
        What a person can do with an archive that is refused, as the end of a sentence.
    """

    max_total_bytes: int
    max_files: int = 2_000_000
    max_ratio: int = 200
    small: int = 10_000_000
    too_large: str = "the limit of `download.max_total_bytes`. Raise it if you want the images"
    instead: str = "unpack it yourself and use `download.source: folder`"

    def check_ratio(self, what: str, unpacked: int, packed: int) -> None:
        """Refuse a decompression bomb."""
        if unpacked > self.small and unpacked > self.max_ratio * max(packed, 1):
            raise self.refusal(
                what,
                f"unpacks from {packed:,} to {unpacked:,} bytes, more than {self.max_ratio} times "
                "its size, as decompression bombs do",
            )

    def refusal(self, archive: str, fault: str) -> UnsafeArchiveError:
        """Return the error for an archive that is refused as a whole."""
        return UnsafeArchiveError(
            f"{archive} {fault}. The whole archive was refused and nothing was written. If you "
            f"trust where it comes from, {self.instead}."
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    Parameters
    ----------
    path : str
        Checked, with ``/`` between folders; unique. Safe to print.
    size : int
        Bytes, as the archive declares them.
    fault : str or None
        Why its name cannot be written down.
    """

    path: str
    size: int
    fault: str | None = None


@dataclass(frozen=True)
class Damaged:
    """What is given instead of a member's bytes where these are damaged; the detail says how."""

    detail: str


class MemberList:
    """Collects members, checking each as it comes.

    Parameters
    ----------
    archive : str
        The archive in words, at the beginning of a sentence.
    limits : ArchiveLimits
    """

    def __init__(self, archive: str, limits: ArchiveLimits) -> None:
        self._archive = archive
        self._limits = limits
        self._total = 0
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> Mapping[str, Member]:
        """The members so far, by path."""
        return self._members

    def add(self, name: str, size: int) -> Member:
        """Add a member that is a regular file.

        Raises
        ------
        UnsafeArchiveError
            If its name leads out of the archive or occurs twice, or the sum is too large.
        """
        path = self.checked(name)
        if path in self._members:
            raise self.refused(name, "occurs in it twice")
        fault = name_fault(path)
        member = Member(shown(path) if fault else path, size, fault)
        self._members[path] = member
        self._total += size
        if size < 0:
            raise self.refused(name, "declares a negative size")
        if self._total > self._limits.max_total_bytes:
            raise self._limits.refusal(
                self._archive,
                f"unpacks to more than {self._limits.max_total_bytes:,} bytes, "
                f"{self._limits.too_large}",
            )
        if len(self._members) > self._limits.max_files:
            raise self._limits.refusal(
                self._archive, f"holds more than {self._limits.max_files:,} files"
            )
        return member

    def checked(self, name: str) -> str:
        """Return a member's path without ``.`` steps, if it stays inside of the archive."""
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
        """Return the error for one member."""
        return self._limits.refusal(self._archive, f"holds {shown(name)!r}, which {fault}")

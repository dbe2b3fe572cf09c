"""The members of an archive, checked one by one against what no honest archive holds.

Members are never unpacked under names that were not checked. A hostile name is refused even where
it could do no harm: an archive that tries is not to be trusted with the rest.
"""

from __future__ import annotations

import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart._utils.errors import ImageError, SourceError, UnsafeArchiveError
from headstart._utils.names import name_fault, shown
from headstart.archives.encodings import decoded, readings

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of what an archive unpacks to.

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
        The alternative to an archive that is refused, as the end of a sentence.
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


class Archive(ABC):
    """An archive whose members are checked one by one while it is listed.

    Parameters
    ----------
    path : Path
    limits : ArchiveLimits
    title : str, optional
        The archive in words, for the beginning of a message; default: by its file name.
    encoding : str, optional
        Encoding of the names for which the archive states none; default: UTF-8, or the archive is
        refused.
    """

    kind: str

    def __init__(
        self,
        path: Path,
        limits: ArchiveLimits,
        title: str | None = None,
        encoding: str | None = None,
    ) -> None:
        self.title = title or f"The archive {path.name}"
        self._path, self._limits, self._encoding = path, limits, encoding
        self._total = 0
        self._members: dict[str, Member] = {}
        self._list()

    @property
    def members(self) -> Sequence[Member]:
        """Every member that is a file."""
        return list(self._members.values())

    @abstractmethod
    def _list(self) -> None:
        """Check every member and add the files among them; the last step of the constructor."""

    @abstractmethod
    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted member, in the order of the file.

        For a member that is damaged, the fault comes instead of the bytes.
        """

    def _add(self, name: str, size: int) -> Member:
        """Add a member that is a regular file.

        Raises
        ------
        UnsafeArchiveError
            If its name leads out of the archive or occurs twice, or the sum is too large.
        """
        path = self._checked(name)
        if path in self._members:
            raise self._refused(name, "occurs in it twice")
        if size < 0:
            raise self._refused(name, "declares a negative size")
        fault = name_fault(path)
        member = Member(shown(path) if fault else path, size, fault)
        self._members[path] = member
        self._total += size
        limits = self._limits
        if self._total > limits.max_total_bytes:
            most = f"{limits.max_total_bytes:,} bytes, {limits.too_large}"
            raise limits.refusal(self.title, f"unpacks to more than {most}")
        if len(self._members) > limits.max_files:
            raise limits.refusal(self.title, f"holds more than {limits.max_files:,} files")
        return member

    def _decoded_together(self, names: Sequence[bytes]) -> list[str]:
        """Return names as text, all in one encoding.

        Raises
        ------
        SourceError
            With the encodings that they may have, if it is none of them for sure.
        """
        encoding = self._encoding or "utf-8"
        found = [decoded(name, encoding) for name in names]
        if None not in found:
            self._warn_of_mixture(names, encoding)
            return [str(name) for name in found]
        wrong = [name for name, text in zip(names, found, strict=True) if text is None]
        said = "names" if self._encoding is None else f"names (`download.encoding: {encoding}`)"
        raise SourceError(
            f"{self.title} does not state the encoding of its {said}, and {len(wrong):,} of "
            f"{len(names):,} are not {encoding}: {shown(os.fsdecode(wrong[0]))!r}. Nothing was "
            "written, since the classes would be garbled. Choose the encoding in which the first "
            f"of them reads right:\n{readings([*wrong, *names]) or '  (none fits)'}\n"
            f"Otherwise, {self._limits.instead}."
        )

    def _warn_of_mixture(self, names: Sequence[bytes], encoding: str) -> None:
        """Warn of names that the chosen encoding may garble, because they are UTF-8 as well."""
        both = [(name, decoded(name, "utf-8")) for name in names if not name.isascii()]
        either = [(name, text) for name, text in both if text is not None]
        if encoding == "utf-8" or not either:
            return
        name, text = either[0]
        print(
            f"Warning: {len(either):,} of {len(names):,} names in {self.title} are also UTF-8: "
            f"with `download.encoding: {encoding}`, {shown(text)!r} reads "
            f"{shown(name.decode(encoding))!r}. If the first reads right, the archive mixes "
            f"encodings: {self._limits.instead}.",
            file=sys.stderr,
            flush=True,
        )

    def _checked(self, name: str) -> str:
        """Return a member's path without ``.`` steps, if it stays inside of the archive."""
        if not name or "\0" in name:
            raise self._refused(name, "has no usable name")
        if "\\" in name:
            raise self._refused(name, "has a backslash in its name, a separator on some systems")
        if name.startswith("/") or _DRIVE.match(name):
            raise self._refused(name, "has an absolute path")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise self._refused(name, "leads out of its folder by '..'")
        if not parts:
            raise self._refused(name, "has no usable name")
        return "/".join(parts)

    def _refused(self, name: str, fault: str) -> UnsafeArchiveError:
        """Return the error for one member."""
        return self._limits.refusal(self.title, f"holds {shown(name)!r}, which {fault}")

    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self._path} cannot be read as a {self.kind} file: {error}. It may be cut short: "
            "compare its size or its SHA-256 with the original's, and fetch it again."
        )

"""A folder of images on this machine, read in place and never changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault, shown
from headstart.sources.source import Entry


class FolderSource:
    """Every file below a folder, by sorted path; links are never followed.

    Parameters
    ----------
    folder : Path
        The folder; it may itself be a link, because the user named it.
    max_total_bytes : int
        Bound on the sum of the files' sizes.

    Raises
    ------
    SourceError
        If it is not a folder, or holds more than the bound.
    """

    summary = ""

    def __init__(self, folder: Path, max_total_bytes: int) -> None:
        if not folder.is_dir():
            raise SourceError(
                f"`download.location` is {folder}, which is not a folder, but `download.source` is "
                "folder. Name a folder, or set the source to archive."
            )
        self._folder = folder
        self.origin = f"The folder {folder}"
        self.entries = sorted(_walk(folder), key=lambda entry: entry.path)
        total = sum(entry.size for entry in self.entries)
        if total > max_total_bytes:
            raise SourceError(
                f"{folder} holds {total:,} bytes; `download.max_total_bytes` allows "
                f"{max_total_bytes:,}. Nothing was written. Raise it if you want the images."
            )

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted path, in sorted order."""
        for entry in self.entries:
            if entry.path in wanted:
                yield entry.path, self._read(entry)

    def _read(self, entry: Entry) -> bytes | ImageError:
        try:
            # The listing saw a regular file; NOFOLLOW holds if a link took its place since.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._folder / entry.path, flags)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
                # One byte more than declared shows that the file grew; never more than that.
                content = file.read(entry.size + 1)
        except OSError as error:
            return ImageError("unreadable", f"{error.strerror}")
        if len(content) != entry.size:
            return ImageError("unreadable", "the file changed while it was read")
        return content


def _walk(folder: Path) -> Iterator[Entry]:
    """Yield everything below ``folder`` that is not a folder."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as listing:
                found = list(listing)
        except OSError as error:
            yield Entry(shown(inside) or ".", 0, ("unreadable", f"{error.strerror}"))
            continue
        for item in found:
            path = f"{inside}/{item.name}" if inside else item.name
            if item.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                yield _entry(item, path)


def _entry(item: os.DirEntry[str], path: str) -> Entry:
    if item.is_symlink():
        return Entry(shown(path), 0, ("link", "links are not followed"))
    try:
        status = item.stat(follow_symlinks=False)
    except OSError as error:
        return Entry(shown(path), 0, ("unreadable", f"{error.strerror}"))
    if not stat.S_ISREG(status.st_mode):
        return Entry(shown(path), 0, ("special", "it is a device, a pipe or a socket"))
    fault = name_fault(path)
    if fault:
        return Entry(shown(path), status.st_size, ("bad_name", fault))
    return Entry(path, status.st_size)

"""A folder of images on this machine, read in place and never changed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.files import sha256_bytes
from headstart._utils.names import name_fault, shown
from headstart._utils.stamps import stamp
from headstart.sources.source import Entry, Recorded
from headstart.stage.inputs import missing_source

#: The SHA-256 of each README.md that data/raw ever came with: ours, and no file of the user's.
_NOTES = {
    "062c6f4a2bd736ed2aac269676dda5f2f06c8e8ec099c0efd5be5adf0e3c74f8",
    "0709b55c4615b9971ae7d99bc47f22dd5a957153fc590a30f98c69115e53e270",
    "a6343f3e3cb90a338c69065ba3e4683c65f2e867daeaebd6e51d93408a190d94",
}
_LARGEST_NOTE = 10_000
_MOST_ITEMS = 5_000_000  # folders that link to each other can be listed without end

#: Details of rejected links, where `download.follow_links` decides.
_OFFER = "it is a link; `download.follow_links: true` follows it"
_OUTSIDE = (
    "it is a link that leads out of `download.location`: name a folder above both there, the "
    "folder of the classes in `download.root`, and set `download.follow_links: true`"
)


class FolderSource:
    """Every file below a folder, by sorted path.

    Parameters
    ----------
    folder : Path
        The folder; it may itself be a link, because the user named it.
    max_total_bytes : int
        Bound on the sum of the files' sizes.
    follow_links : bool, optional
        Whether links to targets inside of the folder are followed; others never are. Default: no
        links are followed, and no parameter changes that.

    Raises
    ------
    SourceError
        If it is not a folder, or holds more than the bound.
    """

    summary = ""

    def __init__(
        self, folder: Path, max_total_bytes: int, follow_links: bool | None = None
    ) -> None:
        if not folder.exists():
            raise missing_source(folder)
        if not folder.is_dir():
            raise SourceError(
                f"`download.location` is {folder}, which is not a folder, but `download.source` is "
                "folder. Name a folder, or set the source to archive."
            )
        self._folder = folder
        self._real = Path(os.path.realpath(folder))
        self._follow = follow_links
        self.origin = f"The folder {folder}"
        self.entries = sorted(self._walk(), key=lambda entry: entry.path)
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
        path = self._folder / entry.path
        if self._follow:
            path = Path(os.path.realpath(path))
            if not path.is_relative_to(self._real):
                return ImageError("link", _OUTSIDE)
        try:
            # The listing saw a regular file; NOFOLLOW holds if a link took its place since.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(path, flags)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
                # One byte more than declared shows that the file grew; never more than that.
                content = file.read(entry.size + 1)
        except OSError as error:
            return ImageError("unreadable", f"{error.strerror}")
        if len(content) != entry.size:
            return ImageError("unreadable", "the file changed while it was read")
        return content

    def _walk(self) -> Iterator[Entry]:
        """Yield everything below the folder that is not a folder."""
        # A folder comes with the folders that links to folders led from and to, resolved.
        waiting: list[tuple[str, tuple[Path, ...]]] = [("", (self._real,))]
        count = 0
        while waiting:
            inside, led = waiting.pop()
            try:
                with os.scandir(self._folder / inside) as listing:
                    found = list(listing)
            except OSError as error:
                yield Entry(shown(inside) or ".", 0, ("unreadable", f"{error.strerror}"))
                continue
            count += len(found)
            if count > _MOST_ITEMS:
                raise SourceError(
                    f"{self._folder} holds more than {_MOST_ITEMS:,} files and folders. Nothing "
                    "was written. Name a folder inside of it, and check for loops of links."
                )
            for item in found:
                path = f"{inside}/{item.name}" if inside else item.name
                if item.is_dir(follow_symlinks=False):
                    waiting.append((path, led))
                elif path == "README.md" and self._is_note(item):
                    continue
                elif not item.is_symlink():
                    yield _entry(item, path, self._real)
                elif fault := self._link_fault(item, led):
                    yield Entry(shown(path), 0, ("link", fault))
                elif item.is_dir():
                    waiting.append((path, (*led, _real_parent(item), _real(item))))
                else:
                    yield _entry(item, path, self._real)

    def _is_note(self, item: os.DirEntry[str]) -> bool:
        """Return whether a file is the note that data/raw comes with."""
        if not item.is_file(follow_symlinks=False) or item.stat().st_size > _LARGEST_NOTE:
            return False
        content = self._read(Entry(item.name, item.stat().st_size))
        return isinstance(content, bytes) and sha256_bytes(content) in _NOTES

    def _link_fault(self, link: os.DirEntry[str], led: tuple[Path, ...]) -> str:
        """Return the reason why a link is not followed; "" if it is."""
        if self._follow is None:
            return "links are not followed"
        target = _real(link)
        if not target.exists():
            return "it is a link to a file that does not exist"
        if not target.is_relative_to(self._real):
            return _OUTSIDE
        if any(each.is_relative_to(target) for each in (*led, _real_parent(link))):
            return "it is a link to a folder that it lies in"
        return "" if self._follow else _OFFER


def _real(item: os.DirEntry[str]) -> Path:
    return Path(os.path.realpath(item.path))


def _real_parent(item: os.DirEntry[str]) -> Path:
    return Path(os.path.realpath(Path(item.path).parent))


def _entry(item: os.DirEntry[str], path: str, folder: Path) -> Entry:
    """Return the entry of a file, or of a link that is followed to one, below a folder."""
    try:
        status = item.stat()
    except OSError as error:
        return Entry(shown(path), 0, ("unreadable", f"{error.strerror}"))
    if not stat.S_ISREG(status.st_mode):
        return Entry(shown(path), 0, ("special", "it is a device, a pipe or a socket"))
    fault = name_fault(path)
    if fault:
        return Entry(shown(path), status.st_size, ("bad_name", fault))
    if sys.platform == "win32":  # a listing there knows no inodes
        return Entry(path, status.st_size)
    return Entry(path, status.st_size, file=Recorded(f"{folder}/{path}", stamp(status)))

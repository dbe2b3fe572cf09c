"""Free disk space, checked before the work and not after it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart._utils.errors import HeadstartError, chain

#: Space that is left to others: a tenth of what is needed, at least this.
_LEAST_MARGIN = 32 << 20
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
#: As libraries word it that raise errors of their own: HDF5, TensorFlow, SQLite.
_FULL_WORDS = ("no space left on device", "disk quota exceeded", "disk is full")
#: A disk that fails, or became read-only because it did.
_FAILED = {errno.EIO, errno.EROFS}
_DENIED = {errno.EACCES, errno.EPERM}
_FAILED_WORDS = "input/output error"


def require_room(needs: Mapping[Path, int], what: str, remedy: str) -> None:
    """Refuse to start work that would fill a disk.

    Parameters
    ----------
    needs : mapping of Path to int
        Folders, which need not exist yet, and the bytes to be written to each. Folders on one
        disk are added up.
    what : str
        The subject of the message: "The activations …".
    remedy : str
        A sentence: what to do if there is too little space.

    Raises
    ------
    HeadstartError
        With the needed and the free space, and the folder.
    """
    disks: dict[int, dict[Path, int]] = {}
    for folder, size in needs.items():
        if size:
            disks.setdefault(existing_folder(folder).stat().st_dev, {})[folder] = size
    for folders in disks.values():
        size = sum(folders.values())
        needed = size + max(size // 10, _LEAST_MARGIN)
        free = free_space(next(iter(folders)))
        if free < needed:
            raise HeadstartError(
                f"{what} need {amount(needed)} on the disk of {' and '.join(map(str, folders))}, "
                f"of which {amount(free)} is free. Nothing was computed. {remedy}"
            )


@dataclass(frozen=True)
class DiskFault:
    """A read or write that the disk refused.

    Attributes
    ----------
    file : Path or None
        None if the error does not name it.
    number : int
        The ``errno``; ``ENOSPC`` for all kinds of a full disk.
    """

    file: Path | None
    number: int

    @property
    def full(self) -> bool:
        """True if the disk or the user's quota is full."""
        return self.number == errno.ENOSPC

    @property
    def denied(self) -> bool:
        """True if this user lacks the permission."""
        return self.number in _DENIED

    def sentence(self) -> str:
        """Return a sentence with the file, and the free space of a full disk."""
        file = self.file or Path.cwd()
        if self.denied:
            return f"This user may not use {file} ({os.strerror(self.number)})."
        if not self.full:
            return f"The disk failed: {file} could not be used ({os.strerror(self.number)})."
        free = amount(free_space(file))
        return f"The disk is full: {file} could not be written, and {free} is free there."


def disk_fault(error: BaseException) -> DiskFault | None:
    """Return the fault of the disk, or its owner, behind an error; None if there is none.

    An error that is a message for people already is kept unless the disk is full, because it says
    more about what was done.
    """
    explained = isinstance(error, HeadstartError)
    for seen in chain(error):
        number = _number(seen)
        if number == errno.ENOSPC or (number is not None and not explained):
            name = getattr(seen, "filename", None)
            return DiskFault(
                Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None, number
            )
    return None


def _number(error: BaseException) -> int | None:
    text = str(error).lower()
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or any(words in text for words in _FULL_WORDS):
        return errno.ENOSPC
    if number in _FAILED | _DENIED:
        return number
    return errno.EIO if _FAILED_WORDS in text else None


def free_space(path: Path) -> int:
    """Return the free bytes on the disk of a file or folder, which need not exist yet."""
    return shutil.disk_usage(existing_folder(path)).free


def amount(size: int) -> str:
    """Return a number of bytes for people: ``1.2 GB``."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} KB"


def existing_folder(folder: Path) -> Path:
    """Return the folder, or the first one above it that exists."""
    folder = folder.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder

"""Files that several users share: who owns them, and what may be written without harm."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path


def owner_name(path: Path) -> str:
    """Return the name of a file's owner, or the user's number; "another user" if it is unknown."""
    try:
        return path.owner()
    except (OSError, KeyError, NotImplementedError):
        pass
    try:
        return f"user {path.stat().st_uid}"
    except OSError:
        return "another user"


def shared_safely(path: Path) -> bool:
    """Return whether we may write a file, and its owner what we put beside it.

    Files that we put beside it get its mode, but our user and our group, unless the folder hands
    down its own. Root's files are given to the owner.
    """
    folder = path.parent
    if not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):
        return False
    if sys.platform == "win32":
        return True
    status = path.stat()
    if os.geteuid() in {0, status.st_uid}:
        return True
    above = folder.stat()
    group = above.st_gid if above.st_mode & stat.S_ISGID else os.getegid()
    by_group = bool(status.st_mode & stat.S_IWGRP) and group == status.st_gid
    return by_group or bool(status.st_mode & stat.S_IWOTH)


def create_shared(path: Path, like: Path | None = None) -> None:
    """Create an empty file, unless it exists, that those may write who may write ``like``.

    Without ``like`` the umask decides. Root gives the file to the owner of the folder.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return
    try:
        if sys.platform != "win32":
            status = (like or path.parent).stat()
            if like is not None:
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
            if os.geteuid() == 0:
                os.fchown(descriptor, status.st_uid, status.st_gid)
            elif like is not None:
                with contextlib.suppress(OSError):  # of a group that is not ours
                    os.fchown(descriptor, -1, status.st_gid)
    finally:
        os.close(descriptor)

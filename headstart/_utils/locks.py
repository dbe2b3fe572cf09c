"""One process at a time: a file that is locked by the kernel, and freed however its holder ends."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError

if sys.platform != "win32":  # There, nobody waits: DVC's own lock has to do.
    import fcntl


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file ``path``; if another process has it, say so and wait.

    Parameters
    ----------
    path : Path
        Made if absent, in a folder that exists. Never followed if it is a link.
    busy : str
        What to say before waiting; ``{holder}`` stands for the other process's number.

    Raises
    ------
    HeadstartError
        If the file cannot be opened or locked.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # The umask decides who may share it, as for the files that it guards.
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            _take(descriptor, busy)
        except OSError as error:
            raise _unusable(path, error) from error
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, busy: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        print(busy.replace("{holder}", holder), file=sys.stderr, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def folder() -> Path:
    """The user's folder of locks, in the cache folder; made if absent, closed to everybody else.

    Not in the folder of temporary files: anyone may put a link of that name there before us, and
    two runs need not agree which folder it is.

    Raises
    ------
    HeadstartError
        If it is a link, no folder, or another user's, or cannot be made.
    """
    if sys.platform == "win32":  # No locks, no folder.
        return cache_folder()
    path = cache_folder() / f"locks-{os.getuid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid():
            raise HeadstartError(
                f"{path} belongs to user {status.st_uid}, and locks in it would be theirs to "
                "break. Nothing was run. Remove it, or name another folder in the environment "
                "variable HEADSTART_CACHE; then run again."
            )
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return path


def _unusable(path: Path, error: OSError) -> HeadstartError:
    return HeadstartError(
        f"The lock {path} cannot be used: {error.strerror}. Nothing was run. If it is a link, "
        "remove it; if its folder cannot be written, name another folder in the environment "
        "variable HEADSTART_CACHE; then run again."
    )

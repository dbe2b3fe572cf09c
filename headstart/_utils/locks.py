"""Exclusive locks between processes: kernel locks on files, released however the holder ends."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError

_HOLDER_BYTES = 200
_POLL = 0.2  # seconds between two attempts while another process holds the lock


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@contextmanager
def exclusive_lock(
    path: Path,
    busy_message: str,
    *,
    holder: str = "",
    say: Callable[[str], None] = _print,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hold the lock file ``path``; if another process holds it, say so and wait.

    Parameters
    ----------
    path : Path
        Created if absent, in a folder that exists; never deleted. A link is not followed. The
        umask decides who may share it, as for the files that it protects.
    busy_message : str
        Reported once before waiting; ``{holder}`` stands for the text of the other process.
    holder : str
        The text that other processes read about this one; by default its process number.
    say : callable
        Called with the message; by default it is printed to standard error.
    cancelled : callable or None
        Asked while waiting; True ends the wait.

    Raises
    ------
    HeadstartError
        If the file cannot be opened or locked, or the wait was canceled.
    """
    text = (holder or str(os.getpid())).encode()[:_HOLDER_BYTES]

    def sign(descriptor: int) -> None:
        if sys.platform != "win32":  # There, nobody else can read a locked file.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)

    lock = FileLock(path, poll_interval=_POLL, fallback_to_soft=False, on_acquired=sign)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(busy_message.replace("{holder}", _holder(path)))
            lock.acquire(cancel_check=cancelled)
    except Timeout:
        raise HeadstartError("Stopped while waiting for another run. Nothing was run.") from None
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_HOLDER_BYTES).decode("utf-8", "replace").strip() or "unknown"
    except OSError:
        return "unknown"


def lock_folder() -> Path:
    """Return the user's folder of locks in the cache folder; create it, closed to other users.

    It is not in the folder of temporary files: anyone could place a link of that name there first,
    and two runs may not agree on that folder.

    Raises
    ------
    HeadstartError
        If it is a link or a file, belongs to another user, or cannot be created.
    """
    if sys.platform == "win32":
        cache_folder().mkdir(parents=True, exist_ok=True)
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
                f"{path} belongs to user {status.st_uid}, who could break the locks in it. "
                "Nothing was run. Remove it, or name another folder in the environment variable "
                "HEADSTART_CACHE; then run again."
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

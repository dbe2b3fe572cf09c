"""Atomic writes, JSON and hashes: files are written beside the target, synced, then moved.

DVC hard-links outputs to its cache, so nothing here ever writes into an existing file.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from headstart._utils import faults

#: Errors of a write, which name no file.
_OF_WRITES = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EIO, errno.EFBIG}


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes ``target`` when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with _naming(target):
            faults.reached("open", target)
            with faults.open_file(beside, target) as file:
                yield file
                file.flush()
                faults.reached("fsync", target)
                os.fsync(file.fileno())
            faults.reached("rename", target)
            beside.replace(target)
            faults.reached("renamed", target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Name the file in an error of a write."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_WRITES and error.filename is None:
            error.filename = os.fspath(target)
        raise


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` so that a reader sees the old file or the complete new one."""
    with atomic_file(target) as file:
        file.write(content)


def write_text(target: Path, text: str) -> None:
    r"""Write text as :func:`write_bytes` does, in UTF-8 with ``\n`` line ends."""
    write_bytes(target, text.encode())


def write_json(target: Path, value: Any) -> None:
    r"""Write canonical JSON: sorted keys, two spaces, ``\n`` at the end, no NaN."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(target, text + "\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that takes its place when the block succeeds.

    The old folder is renamed before it is deleted: it is never seen with half of its files.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    old = target.with_name(f".{target.name}.old.{os.getpid()}.part")
    sweep(target)
    _remove(beside)
    _remove(old)
    beside.mkdir()
    try:
        with _naming(target):
            faults.reached("folder", target)
            yield beside
            faults.reached("swap", target)
            _set_aside(target, old)
            faults.reached("swapped", target)
            beside.replace(target)
            faults.reached("placed", target)
    finally:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.replace(target)
        _remove(beside)
        _remove(old)


def _set_aside(target: Path, old: Path) -> None:
    if not os.path.lexists(target):
        return
    try:
        target.replace(old)
    except OSError:  # A folder of a container's image cannot be renamed.
        if target.is_symlink() or not target.is_dir():
            raise
        shutil.rmtree(target)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder among the temporary files, and clear those of killed processes."""
    top = Path(tempfile.gettempdir())
    for left in top.glob(f"{glob.escape(prefix)}-*"):
        with suppress(OSError):  # another user's
            if left.stat().st_uid == _uid():
                _remove_of_dead(left, left.name.removeprefix(f"{prefix}-").partition("-")[0])
    with tempfile.TemporaryDirectory(prefix=f"{prefix}-{os.getpid()}-") as name:
        yield Path(name)


def sweep(target: Path, *, exclusive: bool = False) -> None:
    """Remove what killed writers of ``target`` left beside it.

    Parameters
    ----------
    target : Path
    exclusive : bool
        True if this process holds the exclusive lock of ``target``, so that no other one writes
        it: the number of a dead process may belong to another one by now.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        process = left.name.split(".")[-2]
        if left.name.removeprefix(f".{target.name}.").removeprefix("old.") != f"{process}.part":
            continue  # that of a longer name
        if exclusive and process.isdigit() and process != str(os.getpid()):
            _remove(left)
        else:
            _remove_of_dead(left, process)


def _remove_of_dead(left: Path, process: str) -> None:
    import psutil

    if process.isdigit() and not psutil.pid_exists(int(process)):
        _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def sha256_bytes(content: bytes) -> str:
    """Return the hex SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


#: Ends DVC's hash of a folder.
MD5_FOLDER = ".dir"
_md5 = partial(hashlib.md5, usedforsecurity=False)


def md5_file(path: Path) -> str:
    """Return the hex MD5 of a file, as DVC computes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def md5_listing(files: Mapping[str, str]) -> str:
    """Return DVC's hash of a folder, from the MD5 of each file by its path below it.

    It is that of the JSON list of the files, sorted by path.
    """
    text = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())])
    return _md5(text.encode()).hexdigest() + MD5_FOLDER


def sha256_tree(path: Path) -> str:
    """Return the hex SHA-256 of a file, or of a folder's relative paths and contents.

    Paths are sorted. A file that cannot be read counts by its name, as unreadable.
    """
    if not path.is_dir():
        return sha256_file(path)
    digest = hashlib.sha256()
    for name, status in files_below(path):
        if status is not None and not stat.S_ISREG(status.st_mode):
            continue
        try:
            content = "unreadable" if status is None else sha256_file(path / name)
        except OSError:
            content = "unreadable"
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def size_below(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return sum(status.st_size for _, status in files_below(path) if status is not None)


def files_below(path: Path) -> list[tuple[str, os.stat_result | None]]:
    """Return what is below a folder and is not a folder, with its status, sorted.

    Returns
    -------
    list of (str, os.stat_result or None)
        Relative path with ``/``, and None for what cannot be read; of a file, itself under the
        name ``""``; of nothing, an empty list.
    """
    if not path.is_dir():
        return [("", path.stat())] if path.exists() else []
    found: list[tuple[str, os.stat_result | None]] = []

    def unreadable(error: OSError) -> None:
        found.append((Path(error.filename).relative_to(path).as_posix(), None))

    # Strings, because there may be a million files, and a Path takes ten times as long.
    top = os.fspath(path)
    for inside, _, names in os.walk(top, onerror=unreadable):
        below = inside[len(top) :].lstrip(os.sep).replace(os.sep, "/")
        for name in names:
            try:
                status = os.stat(f"{inside}{os.sep}{name}")  # noqa: PTH116
            except OSError:
                status = None
            found.append((f"{below}/{name}" if below else name, status))
    return sorted(found, key=lambda item: item[0])

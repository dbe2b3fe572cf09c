"""Files that are either whole or absent: written beside the target, synced, then moved.

DVC hard-links outputs to its cache, so nothing here ever writes into an existing file.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK = 1 << 20
_YOUNG = 2_000_000_000  # ns; the coarsest file systems count time in steps of 2 s


@contextmanager
def atomic_file(target: Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes ``target`` when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` so that a reader sees the old file or the whole new one."""
    with atomic_file(target) as file:
        file.write(content)


def write_text(target: Path, text: str) -> None:
    r"""As :func:`write_bytes`, in UTF-8 with ``\n`` line ends."""
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
    """Yield an empty folder beside ``target`` that takes its place when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    _sweep(target)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif target.exists() or target.is_symlink():
            target.unlink()
        beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what writers of ``target`` left beside it when they were killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        process = left.name.split(".")[-2]
        if process.isdigit() and not _alive(int(process)):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name == "nt":  # There, asking by signal 0 sends Ctrl-C.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # Another user's, or not to be asked: leave it alone.
        return True
    return True


def sha256_bytes(content: bytes) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(path: Path) -> str:
    """Hex sha256 of a file, or of a folder's relative paths and contents in sorted order.

    What cannot be read below a folder counts by its name, as unreadable.
    """
    if not path.is_dir():
        return sha256_file(path)
    digest = hashlib.sha256()
    for name, status in _below(path):
        if status is not None and not stat.S_ISREG(status.st_mode):
            continue
        try:
            content = "unreadable" if status is None else sha256_file(path / name)
        except OSError:
            content = "unreadable"
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class Snapshot:
    """A file's or folder's content at one moment, to be compared with a later one.

    Parameters
    ----------
    path : Path
        Read at once and whole. The comparison reads it again only if the file system's record of
        any file has changed, or was so young that another write might leave no trace in it.
    """

    def __init__(self, path: Path) -> None:
        begun = time.time_ns()
        self.path = path
        self._record, newest = _record(path)
        self._settled = newest < begun - _YOUNG
        self._content = sha256_tree(path)

    def holds(self) -> bool:
        """Whether the content is still the same."""
        try:
            if self._settled and _record(self.path)[0] == self._record:
                return True
            return sha256_tree(self.path) == self._content
        except FileNotFoundError:
            return False


def _record(path: Path) -> tuple[str, int]:
    """Digest of the sizes, inodes and times of all files, and the latest of the times in ns."""
    digest, newest = hashlib.sha256(), 0
    for name, status in _below(path) if path.is_dir() else [("", path.stat())]:
        line = f"{name}\0"
        if status is not None:
            # The time of the last change of the inode cannot be set back, as that of the content.
            line += f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest(), newest


def _below(folder: Path) -> list[tuple[str, os.stat_result | None]]:
    """What lies below a folder and is none, by sorted relative path; None if it is unreadable."""
    found: list[tuple[str, os.stat_result | None]] = []

    def unreadable(error: OSError) -> None:
        found.append((Path(error.filename).relative_to(folder).as_posix(), None))

    for inside, _, names in os.walk(folder, onerror=unreadable):
        for name in names:
            path = Path(inside, name)
            try:
                status = path.stat()
            except OSError:
                status = None
            found.append((path.relative_to(folder).as_posix(), status))
    return sorted(found, key=lambda item: item[0])

"""The original files of the images, in 64 uncompressed zip files: ``00.zip`` to ``63.zip``.

An image's shard follows from its SHA-256 alone, and a shard's bytes from its images alone:
members ``<sha256>.<ext>`` sorted by name, the date 1980-01-01, no extra fields. So two runs give
the same files in any order of adding, and ten new images change at most ten shards. The
manifest records where each image's data begins, so reading one is a single positioned read.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from headstart._utils.errors import CorruptFileError
from headstart._utils.faults import reached
from headstart._utils.files import sha256_bytes

SHARDS = 64

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name; we write no extra field
_REGULAR_FILE = 0o100644 << 16
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can say
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")


def shard_of(image_id: str) -> int:
    """Return the shard of an image, from the first 32 bits of its SHA-256."""
    return int(image_id[:8], 16) % SHARDS


def shard_name(shard: int) -> str:
    """Return the file name of a shard."""
    return f"{shard:02}.zip"


@dataclass(frozen=True)
class Location:
    """The location of an image's data: shard, byte offset in its file, length in bytes."""

    shard: int
    offset: int
    length: int


class ShardWriter:
    """Writes shards of images that are added one at a time, in any order and from any thread.

    Images wait in one unsorted file per shard, on the same disk, until :meth:`finish` sorts them;
    memory holds their names only, never their bytes.

    Parameters
    ----------
    folder : Path
        Existing folder, best the one that ``atomic_folder`` yields: without :meth:`finish` it is
        left unfinished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting = folder / ".waiting"
        self._waiting.mkdir()
        self._spools: list[BinaryIO] = []
        # For each shard, extension, offset and length of every waiting image.
        self._known: list[dict[str, tuple[str, int, int]]] = [{} for _ in range(SHARDS)]
        self._locks = [threading.Lock() for _ in range(SHARDS)]
        try:
            for shard in range(SHARDS):
                self._spools.append((self._waiting / f"{shard:02}").open("w+b"))
        except OSError:
            self.close()
            raise

    def add(self, content: bytes, ext: str) -> str:
        """Add an image and return its ``image_id``; the same bytes are stored once."""
        if not _EXTENSION.fullmatch(ext):
            raise ValueError(f"{ext!r} is no extension of a shard's member")
        image_id = sha256_bytes(content)
        shard = shard_of(image_id)
        with self._locks[shard]:
            known, spool = self._known[shard], self._spools[shard]
            if image_id not in known:
                known[image_id] = (ext, spool.tell(), len(content))
                spool.write(content)
        return image_id

    def finish(self) -> dict[str, Location]:
        """Write all 64 shards and return the location of every image by its ``image_id``."""
        places: dict[str, Location] = {}
        for shard in range(SHARDS):
            places.update(self._write(shard))
        self.close()
        return places

    def _write(self, shard: int) -> dict[str, Location]:
        places = {}
        known, spool = self._known[shard], self._spools[shard]
        if known:
            reached("member", self.folder / shard_name(shard))
        # Images are far below 2 GiB, so no member gets the extra field of zip64.
        with zipfile.ZipFile(self.folder / shard_name(shard), "x", zipfile.ZIP_STORED) as target:
            for image_id, (ext, start, length) in sorted(known.items()):
                spool.seek(start)
                member = zipfile.ZipInfo(f"{image_id}.{ext}", date_time=_EPOCH)
                member.create_system = 3  # Unix, also where the shard is written on Windows
                member.external_attr = _REGULAR_FILE
                target.writestr(member, spool.read(length))
                offset = member.header_offset + _LOCAL_HEADER + len(member.filename)
                places[image_id] = Location(shard, offset, length)
        spool.close()
        (self._waiting / f"{shard:02}").unlink()  # only one shard's images are on the disk twice
        return places

    def close(self) -> None:
        """Close and remove the files of waiting images."""
        for spool in self._spools:
            spool.close()
        shutil.rmtree(self._waiting, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ShardReader:
    """Reads single images by their location, from any number of threads at once.

    Parameters
    ----------
    folder : Path
        Folder of the 64 shards.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        """Return the image's bytes, checked against the SHA-256 that names it.

        Raises
        ------
        CorruptFileError
            If the shard is absent or short, or the bytes do not match ``image_id``.
        """
        content = _read_at(self._open(shard), offset, length)
        if len(content) != length or sha256_bytes(content) != image_id:
            raise CorruptFileError(
                f"{self.folder / shard_name(shard)} does not hold the image {image_id} at byte "
                f"{offset}: expected {length} bytes with that sha256, got {len(content)} bytes "
                f"with {sha256_bytes(content)}. The shard and the manifest do not belong together, "
                "or the disk lost data. Run `dvc repro --force download` to write both anew, "
                "after `headstart doctor --remove` if DVC's cache holds the damaged shard."
            )
        return content

    def _open(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                path = self.folder / shard_name(shard)
                try:
                    self._files[shard] = os.open(path, _FLAGS)
                except OSError as error:
                    raise CorruptFileError(
                        f"The shard {path} cannot be opened ({error.strerror}). `dvc checkout` or "
                        "`dvc repro download` restores it."
                    ) from error
            return self._files[shard]

    def close(self) -> None:
        """Close the shards that were opened."""
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_at(file: int, offset: int, length: int) -> bytes:
    """Read ``length`` bytes, or up to the end; one read may return less."""
    content = b""
    while more := _read_once(file, length - len(content), offset + len(content)):
        content += more
    return content


def _seek_and_read(file: int, length: int, offset: int) -> bytes:
    """Do what ``os.pread`` does, on systems without it (Windows)."""
    with _seeking:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, length)


_seeking = threading.Lock()
_read_once: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)

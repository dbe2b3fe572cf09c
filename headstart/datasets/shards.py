"""The original files of the images, in uncompressed zip files: ``00.zip`` to ``63.zip`` or more.

An image's shard follows from its SHA-256 and the number of shards alone, and a shard's bytes from
its images alone: members ``<sha256>.<ext>`` sorted by name, the date 1980-01-01, no extra fields.
So two runs give the same files in any order of adding, and ten new images change at most ten
shards. There are 64 shards of up to 32,768 images, then twice as many each time that their number
doubles (:mod:`headstart.datasets.parts`). The manifest records where each image's data begins, so
reading one is a single positioned read.
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
from typing import BinaryIO, NamedTuple, Self

from headstart._utils.errors import CorruptFileError
from headstart._utils.faults import reached
from headstart._utils.files import sha256_bytes
from headstart.datasets.earlier_files import EarlierFiles
from headstart.datasets.parts import at_least, part_of

#: The least number of shards.
SHARDS = 64

_WRITER = 1  # number of the rule by which a shard is written
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name; we write no extra field
_REGULAR_FILE = 0o100644 << 16
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file can say
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_OPEN = 128  # shards that a reader keeps open; systems allow 256 files or more


def shard_of(image_id: str, shards: int = SHARDS) -> int:
    """Return the shard of an image."""
    return part_of(image_id, shards)


def shard_name(shard: int) -> str:
    """Return the file name of a shard."""
    return f"{shard:02}.zip"


def earlier_shards(cache: Path | None) -> EarlierFiles:
    """Return the shards in a cache of DVC; None: nothing is found or recorded."""
    return EarlierFiles(cache, "shards", _WRITER)


@dataclass(frozen=True, slots=True)
class Location:
    """The location of an image's data: shard, byte offset in its file, length in bytes."""

    shard: int
    offset: int
    length: int


class _Member(NamedTuple):
    """An image that is to be written: its extension, its bytes' length, and where they wait."""

    ext: str
    length: int
    place: int | None  # in the spool; None: not given yet


class ShardWriter:
    """Writes shards of images that are added one at a time, in any order and from any thread.

    Images wait in 64 unsorted files, on the same disk, until :meth:`finish` sorts them; memory
    holds their names only, never their bytes.

    Parameters
    ----------
    folder : Path
        Existing folder, best the one that ``atomic_folder`` yields: without :meth:`finish` it is
        left unfinished.
    earlier : EarlierFiles, optional
        Shards that an earlier run wrote: one with the same images is copied.
    """

    def __init__(self, folder: Path, earlier: EarlierFiles | None = None) -> None:
        self.folder = folder
        self._earlier = earlier or earlier_shards(None)
        self._waiting = folder / ".waiting"
        self._waiting.mkdir()
        self._spools: list[BinaryIO] = []
        self._known: list[dict[str, _Member]] = [{} for _ in range(SHARDS)]
        self._locks = [threading.Lock() for _ in range(SHARDS)]
        try:
            for spool in range(SHARDS):
                self._spools.append((self._waiting / f"{spool:02}").open("w+b"))
        except OSError:
            self.close()
            raise

    def add(self, content: bytes, ext: str, image_id: str | None = None) -> str:
        """Add an image and return its ``image_id``; the same bytes are stored once.

        Parameters
        ----------
        content : bytes
        ext : str
            Extension of the shard's member.
        image_id : str, optional
            Hex sha256 of ``content``, if it is known.
        """
        image_id = image_id or sha256_bytes(content)
        self._add(image_id, ext, len(content), content)
        return image_id

    def expect(self, image_id: str, ext: str, length: int) -> None:
        """Add an image whose bytes are given later, if :meth:`lacking` asks for them."""
        self._add(image_id, ext, length, None)

    def lacking(self) -> set[str]:
        """Return the images whose bytes must be added before :meth:`finish`.

        An image that is only expected is not among them if its shard is copied as a whole.
        """
        lacking = set()
        for members in self._shards():
            absent = {name for name, member in members.items() if member.place is None}
            if absent and self._earlier.find(_listed(members)) is None:
                lacking |= absent
        return lacking

    def finish(self) -> dict[str, Location]:
        """Write all shards and return the location of every image by its ``image_id``."""
        places: dict[str, Location] = {}
        shards = self._shards()
        self._known.clear()
        for shard, members in enumerate(shards):
            target = self.folder / shard_name(shard)
            listed = _listed(members)
            if members:
                reached("member", target)
            if not (members and self._earlier.copy(listed, target)):
                self._write(target, members)
                self._earlier.record(listed, target)
            places.update(_locations(shard, members))
            members.clear()  # A million images take a gigabyte if nothing is given up.
        self.close()
        return places

    def _add(self, image_id: str, ext: str, length: int, content: bytes | None) -> None:
        if not _EXTENSION.fullmatch(ext):
            raise ValueError(f"{ext!r} is not an extension of a shard's member")
        spool = shard_of(image_id)
        with self._locks[spool]:
            known, file = self._known[spool], self._spools[spool]
            former = known.get(image_id)
            if content is None:
                known.setdefault(image_id, _Member(ext, length, None))
            elif former is None or former.place is None:
                known[image_id] = _Member(ext, length, file.seek(0, os.SEEK_END))
                file.write(content)

    def _shards(self) -> list[dict[str, _Member]]:
        """Return the images of each shard, sorted by name."""
        count = at_least(sum(map(len, self._known)), SHARDS)
        shards: list[dict[str, _Member]] = [{} for _ in range(count)]
        for known in self._known:
            for image_id in sorted(known):
                shards[shard_of(image_id, count)][image_id] = known[image_id]
        return shards

    def _write(self, target: Path, members: dict[str, _Member]) -> None:
        # Images are far below 2 GiB, so no member gets the extra field of zip64.
        with zipfile.ZipFile(target, "x", zipfile.ZIP_STORED) as archive:
            for image_id, member in members.items():
                if member.place is None:
                    raise ValueError(f"the bytes of the image {image_id} were not added")
                spool = self._spools[shard_of(image_id)]
                spool.seek(member.place)
                info = zipfile.ZipInfo(f"{image_id}.{member.ext}", date_time=_EPOCH)
                info.create_system = 3  # Unix, also where the shard is written on Windows
                info.external_attr = _REGULAR_FILE
                archive.writestr(info, spool.read(member.length))

    def close(self) -> None:
        """Close and remove the files of waiting images."""
        for spool in self._spools:
            spool.close()
        shutil.rmtree(self._waiting, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(members: dict[str, _Member]) -> list[str]:
    """Return the content of a shard, which decides its bytes."""
    return [f"{image_id}.{member.ext} {member.length}" for image_id, member in members.items()]


def _locations(shard: int, members: dict[str, _Member]) -> dict[str, Location]:
    """Return where each image's data is in a shard, whose members lie one behind the other."""
    places, offset = {}, 0
    for image_id, member in members.items():
        offset += _LOCAL_HEADER + len(f"{image_id}.{member.ext}")
        places[image_id] = Location(shard, offset, member.length)
        offset += member.length
    return places


class ShardReader:
    """Reads single images by their location, from any number of threads at once.

    Parameters
    ----------
    folder : Path
        Folder of the shards.
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
        content = self._content(shard, offset, length)
        if len(content) != length or sha256_bytes(content) != image_id:
            raise CorruptFileError(
                f"{self.folder / shard_name(shard)} does not hold the image {image_id} at byte "
                f"{offset}: expected {length} bytes with that sha256, got {len(content)} bytes "
                f"with {sha256_bytes(content)}. The shard and the manifest do not belong together, "
                "or the disk lost data. Run `dvc repro --force download` to write both again, "
                "after `headstart doctor --remove` if DVC's cache holds the damaged shard."
            )
        return content

    def _content(self, shard: int, offset: int, length: int) -> bytes:
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                file = self._open(shard)
                if len(self._files) < _OPEN:
                    self._files[shard] = file
            stays = shard in self._files
        try:
            return _read_at(file, offset, length)
        finally:
            if not stays:
                os.close(file)

    def _open(self, shard: int) -> int:
        path = self.folder / shard_name(shard)
        try:
            return os.open(path, _FLAGS)
        except OSError as error:
            raise CorruptFileError(
                f"The shard {path} cannot be opened ({error.strerror}). `dvc checkout` or "
                "`dvc repro download` restores it."
            ) from error

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
    """Read like ``os.pread``, on systems without it (Windows)."""
    with _seeking:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, length)


_seeking = threading.Lock()
_read_once: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)

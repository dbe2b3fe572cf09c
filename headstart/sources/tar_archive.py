"""Images of a tar file, plain or compressed, read forward and never unpacked to disk.

Two passes: the first lists and checks every member, counting what really unpacks; the second
reads the wanted ones at the places that the first has noted.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart._utils.errors import ImageError, SourceError
from headstart.sources.entries import Entry
from headstart.sources.inventory import Bounds, Inventory, unsafe

_CHUNK = 1 << 20
_HEADER = 1 << 20  # bytes; longer extended headers serve nothing but to fill memory
_HEADERS = 64  # reads of headers for one member; more are a chain, which the library recurses over
_XZ_MEMORY = 256 << 20  # bytes of a dictionary; xz -9 needs 64 MiB


class TarSource:
    """The members of a tar file, checked as a whole before the first is read.

    Raises
    ------
    UnsafeArchiveError
        If any member is a link or a device, leads out of the archive, stands there twice, or
        unpacks to more than the bounds allow.
    SourceError
        If it is no intact tar file.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path = path
        self._bounds = bounds
        self._inventory = Inventory(self.origin, bounds)
        self._places: dict[str, tuple[int, int]] = {}
        with self._forward() as stream:
            self._list(stream)

    @property
    def origin(self) -> str:
        """The source in words."""
        return f"The archive {self._path.name}"

    @property
    def entries(self) -> Sequence[Entry]:
        """Every member that is a file."""
        return list(self._inventory.entries.values())

    @property
    def arrangement(self) -> None:
        """The folders tell."""

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """The bytes of each wanted member, in the order of the file."""
        chosen = sorted((self._places[path], path) for path in self._places if path in wanted)
        with self._forward() as stream:
            for (offset, size), path in chosen:
                stream.seek(offset)
                content = stream.take(size)
                if len(content) != size:
                    raise EOFError("a member ends early")
                yield path, content

    @contextmanager
    def _forward(self) -> Iterator[_Forward]:
        with self._path.open("rb") as file:
            packed = self._path.stat().st_size
            try:
                yield _Forward(file, packed, self.origin, self._bounds)
            except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError,
                    ValueError) as error:  # fmt: skip
                raise SourceError(
                    f"{self._path} cannot be read as a tar file: {error}. It may be cut short: "
                    "compare its size or its sha256 with the original's, and fetch it again."
                ) from error

    def _list(self, stream: _Forward) -> None:
        with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # the library would keep every header
                stream.headers = 0
                self._take(member)
            # The library takes a damaged header, and an end that came too early, for the end; the
            # true one is a block of zeros.
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is damaged, or ends without its end mark")
            # The checksum of gzip comes last: nothing vouches for the content before it is reached.
            while stream.take(_CHUNK):
                pass

    def _take(self, member: tarfile.TarInfo) -> None:
        if member.isdir():
            if member.name.strip("./"):
                self._inventory.checked(member.name)
            return
        if member.issym() or member.islnk():
            raise self._inventory.refused(member.name, "is a link")
        if member.issparse() or member.type not in tarfile.REGULAR_TYPES:
            raise self._inventory.refused(member.name, "is no plain file")
        entry = self._inventory.add(member.name, member.size)
        self._places[entry.path] = (member.offset_data, member.size)


class _Forward:
    """A stream that is read forward only and counted: what tarfile needs of a file, and no more."""

    def __init__(self, file: io.BufferedReader, packed: int, origin: str, bounds: Bounds) -> None:
        self._stream = _decompressed(file)
        self._plain = self._stream is file
        self._packed = packed
        self._origin = origin
        self._bounds = bounds
        # Headers and padding come on top of the members' bytes.
        self._most = 2 * bounds.max_total_bytes + (64 << 20)
        self._at = 0
        self.last = b""
        self.headers = 0

    def tell(self) -> int:
        return self._at

    def seek(self, target: int) -> None:
        if target < self._at:
            raise tarfile.ReadError("its parts are out of order")
        if self._plain:
            self._stream.seek(target)
            self._at = target
        while self._at < target:
            if not self._counted(min(_CHUNK, target - self._at)):
                raise tarfile.ReadError("it ends in the middle of a member")

    def read(self, size: int) -> bytes:
        """For headers."""
        if size > _HEADER:
            raise unsafe(self._origin, f"holds a header of {size:,} bytes")
        self.headers += 1
        if self.headers > _HEADERS:
            raise unsafe(self._origin, f"holds a chain of more than {_HEADERS} headers")
        self.last = self.take(size)
        return self.last

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer at the end only."""
        parts = []
        while size and (part := self._counted(min(_CHUNK, size))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _counted(self, size: int) -> bytes:
        content = self._stream.read(size) or b""
        self._at += len(content)
        if not self._plain:
            self._bounds.check_ratio(self._origin, self._at, self._packed)
            if self._at > self._most:
                raise unsafe(self._origin, f"unpacks to more than {self._most:,} bytes")
        return content


class _Decompressed(io.RawIOBase):
    """bzip2 and xz with a bound on what one step unpacks and, for xz, on its dictionary."""

    def __init__(self, file: io.BufferedReader, make: Callable[[], Any]) -> None:
        self._file = file
        self._make = make
        self._decoder = make()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            packed = b""
            if self._decoder.eof:
                # A file may hold several compressed streams, one after the other.
                packed = self._decoder.unused_data or self._file.read(_CHUNK)
                if not packed.strip(b"\0"):
                    return 0
                self._decoder = self._make()
            elif self._decoder.needs_input:
                packed = self._file.read(_CHUNK)
                if not packed:
                    raise EOFError("the compressed data ends early")
            content = self._decoder.decompress(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _decompressed(file: io.BufferedReader) -> io.BufferedIOBase | io.RawIOBase:
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    make: Callable[[], Any]
    if start.startswith(b"BZh"):
        make = bz2.BZ2Decompressor
    elif start == b"\xfd7zXZ\0":
        make = _xz
    else:
        return file
    return _Decompressed(file, make)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

"""Tar files, plain or compressed by gzip, bzip2 or xz, read forward under limits.

Two passes: the first lists and checks every member, counting what really unpacks; the second
reads the wanted ones at the offsets that the first has noted.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from headstart._utils.errors import ImageError, UnsafeArchiveError
from headstart._utils.names import NOT_UTF_8, name_fault
from headstart.archives.members import Archive, ArchiveLimits

_CHUNK = 1 << 20
_HEADER = 1 << 20  # bytes; longer extended headers serve nothing but to fill memory
_HEADERS = 64  # reads of headers for one member; more are a chain, which the library recurses over
_XZ_MEMORY = 256 << 20  # bytes of a dictionary; xz -9 needs 64 MiB


class TarArchive(Archive):
    """The members of a tar file, checked as a whole before the first is read.

    Raises
    ------
    UnsafeArchiveError
        If any member is a link or a device, leads out of the archive, occurs twice, or unpacks to
        more than the limits allow.
    SourceError
        If it is not an intact tar file.
    """

    kind = "tar"

    def _list(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}  # path to offset and size
        self._unstated: list[bytes] = []
        with self._forward() as stream:
            self._list_members(stream)
        if not self._encoding:
            self._decoded_together(self._unstated)  # all are UTF-8, or the archive is refused

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted member, in the order of the file."""
        with self._forward() as stream:
            for path, pieces in self._pieces(stream, wanted):
                yield path, b"".join(pieces)

    def extract(self, folder: Path) -> None:
        """Write every member below an existing folder, under its own checked name, in pieces.

        Raises
        ------
        UnsafeArchiveError
            If a member's name cannot be written on every system.
        SourceError
            If the file is damaged or a member cannot be written.
        """
        for member in self.members:
            if member.fault:
                raise self._refused(member.path, f"cannot be unpacked: {member.fault}")
        with self._forward() as stream:
            for path, pieces in self._pieces(stream, self._spans.keys()):
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    file.writelines(pieces)

    def _pieces(
        self, stream: _Forward, wanted: Collection[str]
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        for (offset, size), path in sorted((span, path) for path, span in self._spans.items()):
            if path in wanted:
                stream.seek(offset)
                yield path, stream.member(size)

    @contextmanager
    def _forward(self) -> Iterator[_Forward]:
        with self._path.open("rb") as file:
            packed = self._path.stat().st_size
            try:
                yield _Forward(file, packed, self.title, self._limits)
            except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError,
                    ValueError) as error:  # fmt: skip
                raise self._unreadable(error) from error

    def _list_members(self, stream: _Forward) -> None:
        with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # the library would keep every header
                stream.headers = 0
                self._add_member(member)
            # The library takes a damaged header, and an end that came too early, for the end; the
            # true one is a block of zeros.
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it is damaged, or ends without its end mark")
            # The checksum of gzip comes last: nothing vouches for the content before it is reached.
            while stream.take(_CHUNK):
                pass

    def _add_member(self, member: tarfile.TarInfo) -> None:
        # The names in extended headers are UTF-8, by the book.
        stated = "path" in member.pax_headers and name_fault(member.name) != NOT_UTF_8
        if not stated and not member.name.isascii():
            raw = member.name.encode("utf-8", "surrogateescape")
            if self._encoding:
                (member.name,) = self._decoded_together([raw])
            elif "path" not in member.pax_headers:
                self._unstated.append(raw)
        if member.isdir():
            if member.name.strip("./"):
                self._checked(member.name)
            return
        if member.issym() or member.islnk():
            raise self._refused(member.name, "is a link")
        if member.issparse() or member.type not in tarfile.REGULAR_TYPES:
            raise self._refused(member.name, "is not a regular file")
        added = self._add(member.name, member.size)
        self._spans[added.path] = (member.offset_data, member.size)


class _Forward:
    """A stream that is read forward only and counted: what tarfile needs of a file, and no more."""

    def __init__(
        self, file: io.BufferedReader, packed: int, title: str, limits: ArchiveLimits
    ) -> None:
        self._stream = _decompressed(file)
        self._plain = self._stream is file
        self._packed = packed
        self._title = title
        self._limits = limits
        # Headers and padding come on top of the members' bytes.
        self._most = 2 * limits.max_total_bytes + (64 << 20)
        self._at = 0
        self.last = b""
        self.headers = 0

    def _refusal(self, fault: str) -> UnsafeArchiveError:
        return self._limits.refusal(self._title, fault)

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
        """Return up to ``size`` bytes of a header."""
        if size > _HEADER:
            raise self._refusal(f"holds a header of {size:,} bytes")
        self.headers += 1
        if self.headers > _HEADERS:
            raise self._refusal(f"holds a chain of more than {_HEADERS} headers")
        self.last = self.take(size)
        return self.last

    def take(self, size: int) -> bytes:
        """Return up to ``size`` bytes; fewer at the end only."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield up to ``size`` bytes, in pieces that memory holds."""
        while size and (piece := self._counted(min(_CHUNK, size))):
            yield piece
            size -= len(piece)

    def member(self, size: int) -> Iterator[bytes]:
        """Yield exactly ``size`` bytes, in pieces."""
        end = self._at + size
        yield from self.pieces(size)
        if self._at != end:
            raise EOFError("a member ends early")

    def _counted(self, size: int) -> bytes:
        content = self._stream.read(size) or b""
        self._at += len(content)
        if not self._plain:
            self._limits.check_ratio(self._title, self._at, self._packed)
            if self._at > self._most:
                raise self._refusal(f"unpacks to more than {self._most:,} bytes")
        return content


class _Decompressed(io.RawIOBase):
    """bzip2 and xz with a bound on what one step unpacks and, for xz, on its dictionary."""

    def __init__(self, file: io.BufferedReader, make: Callable[[], Any]) -> None:
        self._file, self._make = file, make
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
    if start.startswith(b"BZh"):
        return _Decompressed(file, bz2.BZ2Decompressor)
    if start == b"\xfd7zXZ\0":
        return _Decompressed(
            file, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        )
    return file

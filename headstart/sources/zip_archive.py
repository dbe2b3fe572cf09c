"""Images of a zip file, read by position and never unpacked to disk.

The table of contents is the standard library's; the members are inflated here, because what they
unpack to must be counted against what they declare, and stopped there.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from headstart._utils.errors import ImageError, SourceError
from headstart.sources.entries import Entry
from headstart.sources.inventory import Bounds, Inventory, unsafe

_ENCRYPTED = 0x1 | 0x40 | 0x2000  # of old, strong, and with a masked table of contents
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature … lengths of name and extra field
# What the library raises over a damaged table of contents.
_DAMAGE = (zipfile.BadZipFile, struct.error, ValueError, EOFError, OSError, NotImplementedError)
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


class ZipSource:
    """The members of a zip file, checked as a whole before the first is read.

    Raises
    ------
    UnsafeArchiveError
        If any member is a link, leads out of the archive, is encrypted, overlaps another, is not
        what it declares, or unpacks to more than the bounds allow.
    SourceError
        If it is no intact zip file.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self._path = path
        self._bounds = bounds
        self._inventory = Inventory(self.origin, bounds)
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                members, end = archive.infolist(), archive.start_dir
        except _DAMAGE as error:
            raise SourceError(
                f"{path} cannot be read as a zip file: {error}. It may be cut short: compare its "
                "size or its sha256 with the original's, and fetch it again."
            ) from error
        for member in members:
            self._take(member)
        self._check_overlaps(members, end)
        unpacked = sum(member.file_size for member in members)
        bounds.check_ratio(self.origin, unpacked, path.stat().st_size)

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
        chosen = [(info.header_offset, path) for path, info in self._members.items()
                  if path in wanted]  # fmt: skip
        with self._path.open("rb", buffering=0) as file:
            for offset, path in sorted(chosen):
                info = self._members[path]
                file.seek(offset)
                header = file.read(_LOCAL_HEADER.size)
                if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
                    yield path, ImageError("corrupt", "its place in the archive is damaged")
                    continue
                file.seek(sum(_LOCAL_HEADER.unpack(header)[1:]), 1)
                yield path, self._unpacked(info, file.read(info.compress_size))

    def _take(self, member: zipfile.ZipInfo) -> None:
        # The library cuts a name at its first NUL; what was cut off must not go unseen.
        name = member.orig_filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.flag_bits & _ENCRYPTED:
            raise self._inventory.refused(name, "is encrypted")
        if kind == stat.S_IFLNK:
            raise self._inventory.refused(name, "is a link")
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise self._inventory.refused(name, "is neither a file nor a folder")
        if name.endswith("/") or kind == stat.S_IFDIR:
            if name.strip("./"):
                self._inventory.checked(name)
            return
        if member.compress_type not in _METHODS:
            raise SourceError(
                f"{self.origin} holds {name!r}, which is packed by method {member.compress_type}; "
                "only stored and deflated members can be read. Nothing was written. Pack it anew."
            )
        if _contradict(member):
            raise self._inventory.refused(name, "declares two sizes that cannot both be true")
        self._bounds.check_ratio(
            f"{self.origin}: its member {name!r}", member.file_size, member.compress_size
        )
        self._members[self._inventory.add(name, member.file_size).path] = member

    def _check_overlaps(self, members: Sequence[zipfile.ZipInfo], end: int) -> None:
        """Members that share their bytes are how a small file declares petabytes."""
        free = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            if member.header_offset < free:
                raise self._inventory.refused(member.filename, "overlaps another member")
            free = member.header_offset + 30 + len(member.filename) + member.compress_size
        if free > end:
            raise SourceError(
                f"{self.origin} is damaged: its members reach beyond their table. Fetch it again."
            )

    def _unpacked(self, info: zipfile.ZipInfo, packed: bytes) -> bytes | ImageError:
        content = packed
        if info.compress_type == zipfile.ZIP_DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                content = inflater.decompress(packed, info.file_size + 1)
            except zlib.error as error:
                return ImageError("corrupt", f"the archive's data is damaged: {error}")
        if len(content) > info.file_size:
            raise unsafe(
                self.origin,
                f"holds {info.filename!r}, which declares {info.file_size:,} bytes and unpacks to "
                "more",
            )
        if len(content) < info.file_size or zlib.crc32(content) != info.CRC:
            return ImageError("corrupt", "its checksum in the archive is another one")
        return content


def _contradict(member: zipfile.ZipInfo) -> bool:
    """Whether packed and unpacked size cannot belong to the same member."""
    if member.compress_type == zipfile.ZIP_STORED:
        return member.compress_size != member.file_size
    # Deflate adds 5 bytes to every 16 KiB that it cannot shrink; encoders may end with a few more.
    return member.compress_size > member.file_size + (member.file_size >> 8) + 1024

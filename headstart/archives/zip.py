"""Zip files, read by position under limits and never unpacked to disk.

The table of contents is the standard library's; the members are inflated here, because what they
unpack to must be counted against what they declare, and stopped there.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from headstart._utils.errors import ImageError, SourceError
from headstart.archives.encodings import decoded
from headstart.archives.members import Archive

_ENCRYPTED = 0x1 | 0x40 | 0x2000  # of old, strong, and with a masked table of contents
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature … lengths of name and extra field
_UTF_8 = 0x800
_EXTRA_HEADER = struct.Struct("<HH")  # kind and size of an extra field
_UNICODE_PATH = 0x7075
# What the library raises over a damaged table of contents.
_DAMAGE = (zipfile.BadZipFile, struct.error, ValueError, EOFError, OSError, NotImplementedError)
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class _Packed(NamedTuple):
    """The place of a member, and what it declares: a tenth of the library's record."""

    offset: int
    method: int
    packed: int
    size: int
    crc: int


class ZipArchive(Archive):
    """The members of a zip file, checked as a whole before the first is read.

    Raises
    ------
    UnsafeArchiveError
        If any member is a link, leads out of the archive, is encrypted, overlaps another, is not
        what it declares, or unpacks to more than the limits allow.
    SourceError
        If it is not an intact zip file.
    """

    kind = "zip"

    def _list(self) -> None:
        self._packed: dict[str, _Packed] = {}
        try:
            with zipfile.ZipFile(self._path) as archive:
                members, end = archive.infolist(), archive.start_dir
        except _DAMAGE as error:
            raise self._unreadable(error) from error
        for member, name in zip(members, self._names(members), strict=True):
            self._add_member(member, name)
        self._check_overlaps(members, end)
        unpacked = sum(member.file_size for member in members)
        self._limits.check_ratio(self.title, unpacked, self._path.stat().st_size)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted member, in the order of the file."""
        chosen = [item for item in self._packed.items() if item[0] in wanted]
        with self._path.open("rb", buffering=0) as file:
            for path, member in sorted(chosen, key=lambda item: item[1].offset):
                file.seek(member.offset)
                header = file.read(_LOCAL_HEADER.size)
                if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
                    yield path, _damaged("its header in the archive is damaged")
                    continue
                file.seek(sum(_LOCAL_HEADER.unpack(header)[1:]), 1)
                yield path, self._unpacked(path, member, file.read(member.packed))

    def _names(self, members: Sequence[zipfile.ZipInfo]) -> list[str]:
        """Return the names of all members, whose encoding is judged by all of them together.

        A single name in GBK may be correct UTF-8 by accident.
        """
        stated = [_stated_name(member) for member in members]
        if all(name is not None for name in stated):
            return [str(name) for name in stated]
        unstated = [
            _raw_name(member) for member, name in zip(members, stated, strict=True) if name is None
        ]
        found = iter(self._decoded_together(unstated))
        return [next(found) if name is None else name for name in stated]

    def _add_member(self, member: zipfile.ZipInfo, name: str) -> None:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.flag_bits & _ENCRYPTED:
            raise self._refused(name, "is encrypted")
        if kind == stat.S_IFLNK:
            raise self._refused(name, "is a link")
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise self._refused(name, "is neither a file nor a folder")
        if name.endswith("/") or kind == stat.S_IFDIR:
            if name.strip("./"):
                self._checked(name)
            return
        if member.compress_type not in _METHODS:
            raise SourceError(
                f"{self.title} holds {name!r}, which is packed by method {member.compress_type}; "
                "only stored and deflated members can be read. Nothing was written. Pack it again."
            )
        if _contradict(member):
            raise self._refused(name, "declares two sizes that cannot both be true")
        self._limits.check_ratio(
            f"{self.title}: its member {name!r}", member.file_size, member.compress_size
        )
        self._packed[self._add(name, member.file_size).path] = _Packed(
            member.header_offset, member.compress_type, member.compress_size, member.file_size,
            member.CRC,
        )  # fmt: skip

    def _check_overlaps(self, members: Sequence[zipfile.ZipInfo], end: int) -> None:
        """Refuse members that share their bytes: so a small file could declare petabytes."""
        free = 0
        for member in sorted(members, key=lambda member: member.header_offset):
            if member.header_offset < free:
                raise self._refused(member.filename, "overlaps another member")
            free = member.header_offset + 30 + len(_raw_name(member)) + member.compress_size
        if free > end:
            raise SourceError(
                f"{self.title} is damaged: its members reach beyond their table. Fetch it again."
            )

    def _unpacked(self, path: str, member: _Packed, packed: bytes) -> bytes | ImageError:
        content = packed
        if member.method == zipfile.ZIP_DEFLATED:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                content = inflater.decompress(packed, member.size + 1)
            except zlib.error as error:
                return _damaged(f"the archive's data is damaged: {error}")
        if len(content) > member.size:
            raise self._limits.refusal(
                self.title,
                f"holds {path!r}, which declares {member.size:,} bytes and unpacks to more",
            )
        if len(content) < member.size or zlib.crc32(content) != member.crc:
            return _damaged("its checksum differs from the one in the archive")
        return content


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a name. The library cuts `filename` at its first NUL."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF_8 else "cp437")


def _stated_name(member: zipfile.ZipInfo) -> str | None:
    """Return a name whose encoding the archive states; None if it states none."""
    raw = _raw_name(member)
    if member.flag_bits & _UTF_8:
        return member.orig_filename
    extra = member.extra
    while len(extra) >= _EXTRA_HEADER.size:
        kind, size = _EXTRA_HEADER.unpack_from(extra)
        field, extra = extra[_EXTRA_HEADER.size :][:size], extra[_EXTRA_HEADER.size + size :]
        # Version 1 and the checksum of the name that it replaces, then the name.
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BI", 1, zlib.crc32(raw)):
            return decoded(field[5:], "utf-8")
    # Programs write "?" for what their code page lacks, so an ASCII name may have a field, too.
    return member.orig_filename if raw.isascii() else None


def _damaged(detail: str) -> ImageError:
    return ImageError("corrupt", detail)


def _contradict(member: zipfile.ZipInfo) -> bool:
    """Return whether packed and unpacked size cannot belong to the same member."""
    if member.compress_type == zipfile.ZIP_STORED:
        return member.compress_size != member.file_size
    # Deflate adds 5 bytes to every 16 KiB that it cannot shrink; encoders may end with a few more.
    return member.compress_size > member.file_size + (member.file_size >> 8) + 1024

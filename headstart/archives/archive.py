"""Open a zip or tar file, recognized by its content and checked before a member is read."""

from __future__ import annotations

import tarfile
from pathlib import Path

from headstart._utils.errors import SourceError
from headstart.archives.members import Archive, ArchiveLimits
from headstart.archives.tar import TarArchive
from headstart.archives.zip import ZipArchive

_TAR_MAGIC = slice(257, 262)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd"}


def open_archive(path: Path, limits: ArchiveLimits, encoding: str | None = None) -> Archive:
    """Check an archive as a whole and list it.

    Parameters
    ----------
    path : Path
        An existing file.
    limits : ArchiveLimits
        Limits of what it unpacks to.
    encoding : str, optional
        Encoding of the names for which the archive states none.

    Raises
    ------
    SourceError
        If it is not an intact archive, or the encoding of its names is unknown.
    UnsafeArchiveError
        If it holds what no honest archive needs.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return ZipArchive(path, limits, encoding=encoding)
    if start.startswith(_COMPRESSED) or _is_tar(start):
        return TarArchive(path, limits, encoding=encoding)
    other = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
    kind = f"a {other} file" if other else f"not an archive: it begins with {start[:8]!r}"
    raise SourceError(
        f"{path} is {kind}. Expected a zip file, or a tar file, plain or compressed by gzip, bzip2 "
        f"or xz. Nothing was written. Instead, {limits.instead}."
    )


def _is_tar(block: bytes) -> bool:
    """Return whether a block is a tar header: by its mark or, before ``ustar``, its checksum."""
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"))
    except tarfile.TarError:
        return block[_TAR_MAGIC] == b"ustar"

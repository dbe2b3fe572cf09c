"""A zip or tar file of images: told apart by content, its sha256 checked before it is opened."""

from __future__ import annotations

from pathlib import Path

from headstart._utils.errors import SourceError
from headstart._utils.files import sha256_file
from headstart.sources.inventory import Bounds
from headstart.sources.tar_archive import TarSource
from headstart.sources.zip_archive import ZipSource

_TAR_MAGIC = slice(257, 262)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd"}


def open_archive(path: Path, sha256: str | None, bounds: Bounds) -> ZipSource | TarSource:
    """Check an archive as a whole and list it.

    Parameters
    ----------
    path : Path
    sha256 : str, optional
        What the file's sha256 must be.
    bounds : Bounds
        How much it may unpack to.

    Raises
    ------
    SourceError
        If it is absent, another file than ``sha256`` says, or no intact archive.
    UnsafeArchiveError
        If it holds what no archive of images needs.
    """
    if not path.is_file():
        raise SourceError(
            f"`download.location` is {path}, which is no file, but `download.source` is archive. "
            "Name a zip or tar file, or set the source to folder."
        )
    if sha256 is not None and (got := sha256_file(path)) != sha256:
        raise SourceError(
            f"{path} is not the file that `download.sha256` names.\n  expected {sha256}\n"
            f"  got      {got}\nIt was left alone and nothing was written. Fetch it again; or, if "
            "this is the file you mean, put its sha256 into the parameter."
        )
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return ZipSource(path, bounds)
    if start.startswith(_COMPRESSED) or start[_TAR_MAGIC] == b"ustar" or _old_tar(start):
        return TarSource(path, bounds)
    other = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
    kind = f"a {other} file" if other else f"no archive: it begins with {start[:8]!r}"
    raise SourceError(
        f"{path} is {kind}. Expected a zip file, or a tar file, plain or compressed by gzip, bzip2 "
        "or xz. Nothing was written. Unpack it yourself and use `download.source: folder`."
    )


def _old_tar(block: bytes) -> bool:
    """Whether a block is a tar header of the time before ``ustar``: its checksum tells."""
    if len(block) < 512:
        return False
    stated = block[148:156].strip(b" \0")
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return stated.isdigit() and stated == f"{total:o}".encode().rjust(len(stated), b"0")

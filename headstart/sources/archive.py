"""A zip or tar file of images, its SHA-256 checked before it is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.files import sha256_file
from headstart._utils.names import NOT_UTF_8
from headstart.archives.archive import open_archive
from headstart.archives.members import ArchiveLimits
from headstart.sources.source import Entry
from headstart.stage.inputs import missing_source


class ArchiveSource:
    """The members of an archive, read in place and never unpacked to disk.

    Parameters
    ----------
    path : Path
    sha256 : str, optional
        The SHA-256 that the file must have.
    limits : ArchiveLimits
        Limits of what it unpacks to.
    encoding : str, optional
        Encoding of the names for which the archive states none.

    Raises
    ------
    SourceError
        If it is absent, another file than ``sha256`` says, or not an intact archive.
    UnsafeArchiveError
        If it holds what no archive of images needs.
    """

    summary = ""

    def __init__(
        self,
        path: Path,
        sha256: str | None,
        limits: ArchiveLimits,
        encoding: str | None = None,
    ) -> None:
        if not path.exists():
            raise missing_source(path)
        if not path.is_file():
            raise SourceError(
                f"`download.location` is {path}, which is not a file, but `download.source` is "
                "archive. Name a zip or tar file, or set the source to folder."
            )
        if sha256 is not None and (got := sha256_file(path)) != sha256:
            raise SourceError(
                f"{path} is not the file that `download.sha256` names.\n  expected {sha256}\n"
                f"  got      {got}\nIt was not changed, and nothing was written. Fetch it again; "
                "or, if this is the file you mean, put its SHA-256 into the parameter."
            )
        self._archive = open_archive(path, limits, encoding)
        self.origin = self._archive.title
        self.entries = [
            Entry(each.path, each.size, _rejection(each.fault)) for each in self._archive.members
        ]

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Return the bytes of each wanted member, in the order of the file."""
        return self._archive.contents(wanted)


def _rejection(fault: str | None) -> tuple[str, str] | None:
    if fault is None:
        return None
    cure = "; `download.encoding` names its encoding" if fault == NOT_UTF_8 else ""
    return "bad_name", f"{fault}{cure}"

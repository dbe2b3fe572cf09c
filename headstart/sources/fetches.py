"""The downloads of a source, and whether the cache has them: without asking a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart._utils.names import without_credentials
from headstart._utils.tables import counted

if TYPE_CHECKING:
    from headstart.sources.parameters import DownloadParams


@dataclass(frozen=True)
class Fetch:
    """A download of a source.

    Attributes
    ----------
    what, where : str
        The thing and its origin, for people.
    present : bool
        It is in the cache, so that no server is asked.
    kept : Path
        The file or folder of the cache.
    file : Path, optional
        The archive that is read instead of `download.location`.
    most_images : int, optional
        Bound of the number of images; None: unknown.
    """

    what: str
    where: str
    present: bool
    kept: Path
    file: Path | None = None
    most_images: int | None = None


def nothing(params: DownloadParams, location: Path) -> None:
    """Return None: the source reads what is on this machine."""
    del params, location


def archive(params: DownloadParams, location: Path) -> Fetch | None:
    """Return the download of an archive with an address."""
    from headstart.sources.fetched import downloads_folder

    del location
    if params.url is None:
        return None
    kept = downloads_folder() / (params.sha256 or "")
    return Fetch("the archive", without_credentials(params.url), kept.is_file(), kept, kept)


def table(params: DownloadParams, location: Path) -> Fetch | None:
    """Return the downloads of a table's rows that have an address and no path.

    Raises
    ------
    SourceError
        If the table cannot be read.
    """
    from headstart.sources.fetched import Address, downloads_folder
    from headstart.sources.table_file import read_columns

    file = location / (params.table or "")
    if params.url_column is None or not file.is_file():
        return None
    roles = {role: name for role, name in params.columns.items() if role in _ADDRESS}
    rows = read_columns(file, roles).astype(str)
    remote = rows[rows["path"] == ""] if "path" in rows else rows
    sums = remote["sha256"].str.lower() if "sha256" in remote else [""] * len(remote)
    wanted = {Address(url, sha256) for url, sha256 in zip(remote["url"], sums, strict=True) if url}
    if not wanted:
        return None
    absent = sum(not address.target.is_file() for address in wanted)
    what = counted(absent, "image") + f" of {len(wanted):,} with an address"
    folder = downloads_folder() / "images"
    return Fetch(what, f"the addresses in {file}", not absent, folder, most_images=len(rows))


def kaggle(params: DownloadParams, location: Path) -> Fetch:
    """Return the download of a data set of Kaggle."""
    from headstart.sources.fetched import downloads_folder
    from headstart.sources.kaggle import kept_data_set

    del location
    name = params.name or ""
    kept = kept_data_set(name)
    where = f"https://www.kaggle.com/datasets/{name.partition('/versions/')[0]}"
    return Fetch("the data set", where, kept is not None, kept or downloads_folder() / "kaggle")


def objects(params: DownloadParams, location: Path) -> Fetch:
    """Return the download of objects: an archive, or those of a listing.

    Raises
    ------
    SourceError
        If there is no listing, or it cannot be used.
    """
    from headstart.sources.assigned import assign
    from headstart.sources.fetched import downloads_folder
    from headstart.sources.objects import ObjectSource
    from headstart.sources.parameters import place_of
    from headstart.stage.inputs import missing_source

    place = place_of(params)
    if params.sha256 is not None:
        kept = downloads_folder() / params.sha256
        return Fetch("the archive", place.url, kept.is_file(), kept, kept)
    if not location.exists():
        raise missing_source(location)
    source = ObjectSource(place, location)
    wanted = assign(source, params).wanted
    absent, most = source.absent(wanted), len(wanted)
    what = counted(absent, "image") + f" of {most:,} in {location}"
    folder = downloads_folder() / "images"
    return Fetch(what, place.url, not absent, folder, most_images=most)


_ADDRESS = {"path", "url", "sha256"}

"""The section ``download``, and the table of sources that it chooses from.

To add a source, write its module, and add its row, its keys and its opener here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart._utils.names import without_credentials
from headstart._utils.records import Sha256
from headstart.archives.encodings import ENCODINGS
from headstart.images.formats import FORMATS, MOST_PIXELS
from headstart.sources import fetches
from headstart.sources.groups import FOLDER
from headstart.stage.sections import OneOf, PositiveInt, Section

if TYPE_CHECKING:
    from headstart.images.decode import Limits
    from headstart.objects.place import Place
    from headstart.sources.source import Source

SPLITS = ("train", "validation", "test")


def _embedded(params: DownloadParams, location: Path) -> Source:
    from headstart.sources.embedded import EmbeddedSource

    del params, location
    return EmbeddedSource()


def _folder(params: DownloadParams, location: Path) -> Source:
    from headstart.sources.folder import FolderSource

    return FolderSource(location, params.max_total_bytes, bool(params.follow_links))


def _archive(params: DownloadParams, location: Path) -> Source:
    from headstart.archives.members import ArchiveLimits
    from headstart.sources.archive import ArchiveSource
    from headstart.sources.fetched import fetch_archive

    limits = ArchiveLimits(params.max_total_bytes)
    if params.url is None:
        return ArchiveSource(location, params.sha256, limits, params.encoding)
    fetched = fetch_archive(params.url, params.sha256 or "", params.max_total_bytes)
    return ArchiveSource(fetched, None, limits, params.encoding)  # its SHA-256 is checked already


def _table(params: DownloadParams, location: Path) -> Source:
    from headstart.sources.table import TableSource

    return TableSource(params, location)


def _tfds(params: DownloadParams, location: Path) -> Source:
    from headstart.sources.tfds import TfdsSource

    return TfdsSource(params, location)


def _kaggle(params: DownloadParams, location: Path) -> Source:
    from headstart.archives.members import ArchiveLimits
    from headstart.sources.kaggle import open_kaggle

    del location  # the name pins a version, which never changes
    limits = ArchiveLimits(params.max_total_bytes)
    return open_kaggle(params.name or "", limits, encoding=params.encoding)


def _objects(params: DownloadParams, location: Path) -> Source:
    from headstart.sources.objects import ObjectSource, fetch_archive_object

    place = place_of(params)
    if params.sha256 is None:
        return ObjectSource(place, location)
    from headstart.archives.members import ArchiveLimits

    limits = ArchiveLimits(params.max_total_bytes)
    return fetch_archive_object(place, params.sha256, limits, params.encoding)


@dataclass(frozen=True)
class Key:
    """The use of a key by a source; not every source has it.

    Parameters
    ----------
    expected : str
        The expected value, for the message; "" for any value or null.
    pattern : pattern, optional
        Matches the values that are accepted.
    hint : str
        Sentences that end the message.
    optional : bool
        It may be null.
    """

    expected: str = ""
    pattern: re.Pattern[str] | None = None
    hint: str = ""
    optional: bool = False


@dataclass(frozen=True)
class SourceKind:
    """A row of the table of sources.

    Parameters
    ----------
    open : callable
        Makes the source from the section and its location; imports what it needs when called.
    keys : mapping of str to Key
        The keys of the section that are for this source, of those that are not for all.
    fetch : callable
        Returns what the source downloads, without asking a server; None: nothing.
    """

    open: Callable[[DownloadParams, Path], Source]
    keys: Mapping[str, Key] = field(default_factory=dict)
    fetch: Callable[[DownloadParams, Path], fetches.Fetch | None] = fetches.nothing


def _version(words: str, pattern: str) -> Key:
    hint = "Without the version, the commit would not say what it was trained on."
    return Key(words, re.compile(pattern), hint)


_FOLDERS = {"root": Key(), "splits": Key()}
_GROUPED = {**_FOLDERS, "group": Key()}
_HTTP = Key("an http(s) address or null", re.compile(r"https?://.+"), optional=True)


def _object_storage(scheme: str, **own: Key) -> SourceKind:
    address = Key(
        f"the address of class folders or of an archive, as in {scheme}://BUCKET/PREFIX,",
        re.compile(scheme + r"://[A-Za-z0-9][A-Za-z0-9._-]{1,250}(/[^?#\x00-\x1f\x7f]*)?"),
        "It has no user, no key and no query: params.yaml is committed.",
    )
    keys = {"url": address, "sha256": Key(), "anonymous": Key(), **own}
    return SourceKind(_objects, {**keys, "encoding": Key(), **_GROUPED}, fetches.objects)


#: Name of a source in params.yaml to its row.
SOURCES: Mapping[str, SourceKind] = {
    "embedded": SourceKind(_embedded, {"root": Key()}),
    "folder": SourceKind(_folder, {"follow_links": Key(), **_GROUPED}),
    "archive": SourceKind(
        _archive,
        {"url": _HTTP, "sha256": Key(), "encoding": Key(), **_GROUPED},
        fetches.archive,
    ),
    "table": SourceKind(
        _table,
        {
            "table": Key("the .csv or .parquet file, relative to `location`,"),
            "label_column": Key("the name of the column with the classes"),
            "path_column": Key(),
            "path_suffix": Key(),
            "follow_links": Key(),
            "url_column": Key(),
            "split_column": Key(),
            "group_column": Key(),
            "sha256_column": Key(),
            **_FOLDERS,
        },
        fetches.table,
    ),
    "tfds": SourceKind(
        _tfds,
        {
            "name": _version(
                "a data set with its version, as in cats_vs_dogs:4.0.1 or NAME/CONFIG:VERSION,",
                r"[A-Za-z0-9_]+(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)?:\d+\.\d+\.\d+",
            ),
            "path_column": Key(),
            "label_column": Key(),
            "group_column": Key(),
            "splits": Key(),
        },
    ),
    "kaggle": SourceKind(
        _kaggle,
        {
            "name": _version(
                "owner, name and version, as in OWNER/NAME/versions/2,",
                r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/versions/[1-9]\d*",
            ),
            "encoding": Key(),
            **_GROUPED,
        },
        fetches.kaggle,
    ),
    "s3": _object_storage("s3", endpoint_url=Key(), profile=Key()),
    "gs": _object_storage("gs"),
    "abfs": _object_storage("abfs"),
}

#: The keys that are not for every source: recipes set them to null when they change the source.
SPECIFIC = tuple(dict.fromkeys(key for kind in SOURCES.values() for key in kind.keys))

Column = Annotated[str, Field(min_length=1)] | None


class DownloadParams(Section):
    """Source and limits of the images.

    ``location`` always names something that exists, because dvc.yaml watches it: that is how an
    image added to a folder is noticed. With class folders in object storage, it is their listing.
    The embedded source, a URL and a Kaggle data set do not read it; their content is fixed by a
    hash or a version.
    """

    source: Annotated[str, OneOf(SOURCES)]
    location: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(min_length=1)] | None
    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^@?#\s]+$")] | None
    anonymous: bool | None
    profile: Annotated[str, Field(min_length=1)] | None
    sha256: Sha256 | None
    encoding: Annotated[str, OneOf(tuple(ENCODINGS))] | None
    name: str | None
    table: Annotated[str, Field(min_length=1)] | None
    path_column: Column
    path_suffix: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None
    url_column: Column
    label_column: Column
    split_column: Column
    group_column: Column
    sha256_column: Column
    follow_links: bool | None
    root: str | None
    splits: (
        Annotated[
            dict[str, Any],
            Field(
                json_schema_extra={"expected": "names with their split (train, validation or test)"}
            ),
        ]
        | None
    )
    group: Annotated[str, Field(min_length=1)] | None
    formats: Annotated[list[Annotated[str, OneOf(FORMATS)]], Field(min_length=1)]
    min_side: PositiveInt
    max_pixels: Annotated[
        PositiveInt,
        Field(
            le=MOST_PIXELS,
            json_schema_extra={
                "expected": f"an integer from 1 to {MOST_PIXELS} (Pillow opens nothing larger)"
            },
        ),
    ]
    max_image_bytes: PositiveInt
    max_total_bytes: PositiveInt

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named, by role: ``path`` for ``path_column``."""
        return {
            name.removesuffix("_column"): column
            for name, column in self
            if name.endswith("_column") and column is not None
        }

    @field_validator("splits")
    @classmethod
    def _leads_to_splits(cls, splits: dict[str, Any] | None) -> dict[str, str] | None:
        if splits is not None and not all(
            name.strip("/") and split in SPLITS for name, split in splits.items()
        ):
            raise UnfitError(
                f"names with their split ({', '.join(SPLITS)}), as in `{{dev: validation}}`; "
                "{} (not divided); or null (found automatically)"
            )
        return splits

    @field_validator(*SPECIFIC)
    @classmethod
    def _fits_the_source(cls, value: Any, info: ValidationInfo) -> Any:
        name, source = str(info.field_name), info.data.get("source")
        if source is None:  # reported already
            return value
        key = SOURCES[source].keys.get(name)
        if key is None and value is not None:
            others = " | ".join(other for other, kind in SOURCES.items() if name in kind.keys)
            raise UnfitError(
                f"null with `source: {source}`", f"`{name}` is for `source: {others}`."
            )
        if key is not None and key.expected and not (key.optional and value is None):
            unfit = key.pattern is not None and not key.pattern.fullmatch(value or "")
            if value is None or unfit:
                raise UnfitError(f"{key.expected} with `source: {source}`", key.hint)
        return value

    @field_validator("url")
    @classmethod
    def _holds_no_credentials(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise UnfitError(
                "an http(s) address without a user and a password",
                "params.yaml is committed, and the model card shows the address. Put them into "
                "~/.netrc instead (`machine HOST login USER password PASSWORD`), which is read.",
            )
        if url is not None and without_credentials(url) != url:
            raise UnfitError(
                "an address without a token or a signature",
                "params.yaml is committed, and a signed address expires. For an object of S3, use "
                "`source: s3` with `url: s3://BUCKET/KEY`: credentials come from the environment.",
            )
        return url

    @field_validator("sha256")
    @classmethod
    def _comes_with_an_address(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        archive = info.data.get("source") == "archive"
        if sha256 is None and archive and info.data.get("url") is not None:
            raise UnfitError(
                "a sha256 of 64 hexadecimal digits with a `url`",
                "The file on the server may change, and the commit would not say what it was "
                "trained on (`sha256sum FILE` prints it).",
            )
        return sha256

    @field_validator("group")
    @classmethod
    def _is_a_rule(cls, group: str | None) -> str | None:
        if group is None or group == FOLDER:
            return group
        try:
            captured = re.compile(group).groups
        except re.error:
            captured = 0
        if captured != 1:
            raise UnfitError(
                f"{FOLDER} or a regular expression with one group in parentheses",
                "The group is what the parentheses match in the path of an image, as in "
                "'patient([0-9]+)'.",
            )
        return group

    @field_validator("table")
    @classmethod
    def _is_a_kind_of_table(cls, table: str | None) -> str | None:
        if table is not None and not table.lower().endswith((".csv", ".tsv", ".parquet")):
            raise UnfitError("a .csv, .tsv or .parquet file")
        return table

    @field_validator("url_column")
    @classmethod
    def _leads_to_the_images(cls, url: str | None, info: ValidationInfo) -> str | None:
        # A wrong path_column is reported already, and absent here.
        without_path = info.data.get("path_column", "") is None
        if url is None and without_path and info.data.get("source") == "table":
            raise UnfitError(
                "the name of a column with `source: table` and no `path_column`",
                "One of the two says where each image is; both may be set.",
            )
        return url

    @field_validator("sha256_column")
    @classmethod
    def _belongs_to_addresses(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if sha256 is not None and info.data.get("url_column", "") is None:
            raise UnfitError("null without a `url_column`", "It pins the content of an address.")
        return sha256


def limits_of(params: DownloadParams) -> Limits:
    """Return the section's limits of accepted images."""
    from headstart.images.decode import Limits

    return Limits(tuple(params.formats), params.min_side, params.max_pixels, params.max_image_bytes)


def place_of(params: DownloadParams) -> Place:
    """Return the place in object storage that the section names."""
    from headstart.objects.place import Place

    return Place(
        (params.url or "").rstrip("/"), params.endpoint_url, bool(params.anonymous), params.profile
    )


def open_source(params: DownloadParams, location: Path) -> Source:
    """Return the source that the section names, listed and checked as a whole."""
    return SOURCES[params.source].open(params, location)


def fetch_of(params: DownloadParams, location: Path) -> fetches.Fetch | None:
    """Return what the source that the section names downloads; None if it downloads nothing."""
    return SOURCES[params.source].fetch(params, location)

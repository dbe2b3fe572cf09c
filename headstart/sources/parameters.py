"""``download``: where the images come from, and what is accepted as an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart.images.formats import FORMATS, MOST_PIXELS
from headstart.stage.sections import OneOf, PositiveInt, Section, Sha256

SPLITS = ("train", "validation", "test")

#: Which sources a key is for, where it is not for all.
_FOR: Mapping[str, tuple[str, ...]] = {
    "url": ("archive",),
    "sha256": ("archive",),
    "name": ("tfds", "kaggle"),
    "table": ("table",),
    "path_column": ("table", "tfds"),
    "label_column": ("table", "tfds"),
    "group_column": ("table", "tfds"),
    "url_column": ("table",),
    "sha256_column": ("table",),
    "split_column": ("table",),
    "root": ("folder", "archive", "table", "kaggle", "embedded"),
    "splits": ("folder", "archive", "table", "tfds", "kaggle"),
}

#: Keys that tell of one certain source: of no use, or refused, with another one.
OF_A_SOURCE = tuple(_FOR)

# A version belongs to each name: without it the commit would not say what it was trained on.
_NAMES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "tfds": (
        re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)?:\d+\.\d+\.\d+"),
        "a data set with its version, as in cats_vs_dogs:4.0.1 or NAME/CONFIG:VERSION,",
    ),
    "kaggle": (
        re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/versions/[1-9]\d*"),
        "owner, name and version, as in OWNER/NAME/versions/2,",
    ),
}

Column = Annotated[str, Field(min_length=1)] | None


class DownloadParams(Section):
    """Source and bounds of the images.

    ``location`` always names something that exists, because dvc.yaml watches it: that is how an
    image added to a folder is noticed. The embedded source, a URL and a Kaggle data set leave it
    unread; what they name is fixed by a hash or a version.
    """

    source: Literal["embedded", "folder", "archive", "table", "tfds", "kaggle"]
    location: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern=r"^https?://")] | None
    sha256: Sha256 | None
    name: str | None
    table: Annotated[str, Field(min_length=1)] | None
    path_column: Column
    url_column: Column
    label_column: Column
    split_column: Column
    group_column: Column
    sha256_column: Column
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

    @field_validator("splits")
    @classmethod
    def _leads_to_splits(cls, splits: dict[str, Any] | None) -> dict[str, str] | None:
        if splits is not None and not all(
            name.strip("/") and split in SPLITS for name, split in splits.items()
        ):
            raise UnfitError(
                f"names with their split ({', '.join(SPLITS)}), as in `{{dev: validation}}`; "
                "{} (divided by nothing); or null (found by itself)"
            )
        return splits

    @field_validator(*_FOR)
    @classmethod
    def _is_for_this_source(cls, value: Any, info: ValidationInfo) -> Any:
        owners = _FOR[str(info.field_name)]
        source = info.data.get("source", owners[0])
        if value is not None and source not in owners:
            raise UnfitError(
                f"null with `source: {source}`",
                f"`{info.field_name}` is for `source: {' | '.join(owners)}`.",
            )
        return value

    @field_validator("sha256")
    @classmethod
    def _comes_with_an_address(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if sha256 is None and info.data.get("url") is not None:
            raise UnfitError(
                "a sha256 of 64 hexadecimal digits with a `url`",
                "What a server sends may change, and the commit would not say what it was trained "
                "on (`sha256sum FILE` prints it).",
            )
        return sha256

    @field_validator("name")
    @classmethod
    def _names_a_version(cls, name: str | None, info: ValidationInfo) -> str | None:
        pattern, words = _NAMES.get(info.data.get("source", ""), (None, ""))
        if pattern is not None and not pattern.fullmatch(name or ""):
            raise UnfitError(
                f"{words} with `source: {info.data['source']}`",
                "Without the version, the commit would not say what it was trained on.",
            )
        return name

    @field_validator("table", "label_column")
    @classmethod
    def _is_needed_by_a_table(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("source") == "table":
            what = {
                "table": "the .csv or .parquet file, relative to `location`,",
                "label_column": "the name of the column with the classes",
            }[str(info.field_name)]
            raise UnfitError(f"{what} with `source: table`")
        return value

    @field_validator("table")
    @classmethod
    def _is_a_kind_of_table(cls, table: str | None) -> str | None:
        if table is not None and not table.lower().endswith((".csv", ".tsv", ".parquet")):
            raise UnfitError("a .csv, .tsv or .parquet file")
        return table

    @field_validator("url_column")
    @classmethod
    def _has_a_way_to_the_images(cls, url: str | None, info: ValidationInfo) -> str | None:
        # A wrong path_column is a fault of its own, and absent here.
        if url is None and info.data.get("path_column", "") is None:
            source = info.data.get("source")
            if source == "table":
                raise UnfitError(
                    "the name of a column with `source: table` and no `path_column`",
                    "One of the two says where each image is; both may be given.",
                )
        return url

    @field_validator("sha256_column")
    @classmethod
    def _belongs_to_addresses(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if sha256 is not None and info.data.get("url_column", "") is None:
            raise UnfitError("null without a `url_column`", "It pins what an address sends.")
        return sha256

"""The manifests: one row per image, as CSV whose bytes follow from the content.

Rows are sorted by ``path``, which is unique. Byte-identical images have a row each and share an
``image_id``; they are stored once. Text is text: "NA" is a name like any other. A manifest of more
than 32,768 images is a folder of parts (:mod:`headstart.datasets.parted`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from headstart._utils.csv_text import csv_text, restored
from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_text
from headstart.datasets.parted import contents_of, in_order, joined, write_parted

SPLITS = ("train", "validation", "test")

#: Column to dtype. ``image_id``: hex sha256 of the file's bytes. ``path``: where the image stood
#: in its source. ``predefined_split``: its split there; "" for none. ``width``, ``height``: pixels,
#: orientation applied. ``bytes``: length of the file. ``group``: images with the same group share a
#: split; "" for none. ``shard``, ``offset``: where its bytes are stored.
IMAGES: Mapping[str, str] = {
    "image_id": "str",
    "path": "str",
    "label": "str",
    "predefined_split": "str",
    "width": "int64",
    "height": "int64",
    "format": "str",
    "bytes": "int64",
    "group": "str",
    "shard": "int64",
    "offset": "int64",
}
SPLIT: Mapping[str, str] = {**IMAGES, "split": "str"}

#: Reasons for the rejection of a file, with their meaning.
REASONS: Mapping[str, str] = {
    "absent": "a table names it, but there is no such file",
    "bad_name": "its name cannot be written to a table (not UTF-8, or with control characters)",
    "bad_row": "a row of a table that is unusable, or repeats another",
    "corrupt": "it cannot be decoded, or its archive says that it is damaged",
    "empty": "it has no bytes",
    "hidden": "a hidden file or folder, or one of the system (@eaDir, $RECYCLE.BIN)",
    "link": "a link, which may point anywhere",
    "no_class": "it is in no class folder, or its source states no class or an unknown split",
    "not_fetched": "its address does not deliver it",
    "not_an_image": "its content is not of an image format, whatever its name says",
    "refused_format": "an image of a format that is not accepted",
    "special": "a device, a pipe or a socket",
    "too_large": "more pixels or bytes than the parameters allow",
    "too_small": "fewer pixels than the parameters require",
    "truncated": "it ends too early",
    "unreadable": "it could not be opened",
}
REJECTED: Mapping[str, str] = {"path": "str", "reason": "str", "detail": "str"}


def read_table(
    path: Path,
    columns: Mapping[str, str],
    what: str,
    mend: str = "",
    files: Sequence[Path] | None = None,
) -> pd.DataFrame:
    """Read a table whose columns and dtypes are known.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        Column to dtype, in the order of the file.
    what : str
        The kind of file, for the message: "a manifest".
    mend : str
        The remedy for a damaged file, as a sentence; may be empty.
    files : sequence of Path, optional
        The parts of the table, if it is in several files. Default: those in ``path``, if it is a
        folder.

    Raises
    ------
    CorruptFileError
        If it cannot be read, or has other columns.
    """
    then = f" {mend}" if mend else ""
    try:
        contents = contents_of(path) if files is None else joined(files)
        tables: list[pd.DataFrame] = [restored(_read_csv(content, columns)) for content in contents]
    except (ValueError, OSError, OverflowError) as error:
        raise CorruptFileError(f"{path} cannot be read as {what}: {error}.{then}") from error
    names = list(tables[0].columns)
    if names != list(columns):
        raise CorruptFileError(
            f"{path}: expected the columns {', '.join(columns)}; got {', '.join(names)}.{then}"
        )
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]


def _read_csv(content: Path | io.BytesIO, columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.read_csv(
        content,
        dtype=dict(columns),
        keep_default_na=False,
        na_filter=False,
        encoding="utf-8",
        lineterminator="\n",
        float_precision="round_trip",
    )


def read_images(path: Path) -> pd.DataFrame:
    """Read an image manifest and check columns, dtypes, order and uniqueness."""
    return _checked_images(_read(path, IMAGES), path)


def write_images(path: Path, images: pd.DataFrame) -> None:
    """Write an image manifest, sorted by path."""
    _write(path, images, IMAGES)


def read_split(path: Path) -> pd.DataFrame:
    """Read a manifest with its ``split`` column, and check that every split is a known one."""
    frame = _checked_images(_read(path, SPLIT), path)
    unknown = sorted(set(frame["split"]) - set(SPLITS))
    if unknown:
        raise CorruptFileError(f"{path}: the column split holds {unknown}; known are {SPLITS}.")
    return frame


def write_split(path: Path, images: pd.DataFrame) -> None:
    """Write a manifest with its ``split`` column, sorted by path."""
    _write(path, images, SPLIT)


def read_rejected(path: Path) -> pd.DataFrame:
    """Read the table of rejected files, with the reason for each."""
    return read_table(path, REJECTED, "a manifest")


def write_rejected(path: Path, rows: pd.DataFrame) -> None:
    """Write the table of rejected files, sorted by path.

    Raises
    ------
    ValueError
        If a reason is none of :data:`REASONS`: people look them up.
    """
    unknown = set(rows["reason"]) - set(REASONS)
    if unknown:
        raise ValueError(f"unknown reasons: {sorted(unknown)}")
    _write(path, rows, REJECTED)


def class_names(images: pd.DataFrame) -> list[str]:
    """Return the classes in their order, which is by code point."""
    return sorted(images["label"].unique())


def frame(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a data frame of ``rows`` with exactly these columns and dtypes, even without rows."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.astype(dict(columns))


def _read(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    return in_order(path, read_table(path, columns, "a manifest"), ["path"])


def _checked_images(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if not table["path"].is_unique:
        twice = table.loc[table["path"].duplicated(), "path"].iloc[0]
        raise CorruptFileError(f"{path}: the image {twice!r} is in two rows.")
    if not table["path"].is_monotonic_increasing:
        raise CorruptFileError(f"{path}: the rows are not sorted by path.")
    bad = table.loc[~table["image_id"].str.fullmatch(r"[0-9a-f]{64}"), "path"]
    if len(bad):
        raise CorruptFileError(f"{path}: the image_id of {bad.iloc[0]!r} is not a SHA-256.")
    return table


def _write(path: Path, table: pd.DataFrame, columns: Mapping[str, str]) -> None:
    ordered = table[list(columns)].sort_values("path", kind="stable")
    if "image_id" in columns:
        write_parted(path, ordered)
    else:
        write_text(path, csv_text(ordered))

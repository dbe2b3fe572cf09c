"""The tables of near duplicates: verified pairs, and the group of each image that is in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from headstart._utils.csv_text import csv_text
from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_text
from headstart.datasets.manifests import read_table

_AGAIN = "Run `dvc repro --force find_duplicates` to write it again."

#: Column to dtype. An image is named by its id and its first path. ``kind``: the change between
#: the two. ``similarity``: correlation of their detail. ``group``: the first image id of its group.
#: ``conflict``: 1 if the two have no label in common. ``leak``: 1 if they are in different
#: predefined splits, one of which is held out.
PAIRS: Mapping[str, str] = {
    "image_id": "str",
    "other_id": "str",
    "path": "str",
    "other_path": "str",
    "label": "str",
    "other_label": "str",
    "kind": "str",
    "similarity": "float64",
    "conflict": "int64",
    "leak": "int64",
    "group": "str",
}
GROUPS: Mapping[str, str] = {"image_id": "str", "group": "str"}


def read_pairs(path: Path) -> pd.DataFrame:
    """Read the table of pairs of near duplicates."""
    return read_table(path, PAIRS, "a table of duplicates", _AGAIN)


def write_pairs(path: Path, pairs: pd.DataFrame) -> None:
    """Write the table of pairs, sorted by group and image ids."""
    ordered = pairs[list(PAIRS)].sort_values(["group", "image_id", "other_id"])
    write_text(path, csv_text(ordered))


def read_groups(path: Path) -> dict[str, str]:
    """Read the group of each image that has near duplicates.

    Raises
    ------
    CorruptFileError
        If the table is damaged, or an image is in it twice.
    """
    table = read_table(path, GROUPS, "a table of duplicates", _AGAIN)
    if not table["image_id"].is_unique:
        twice = table.loc[table["image_id"].duplicated(), "image_id"].iloc[0]
        raise CorruptFileError(f"{path}: the image {twice} is in two rows. {_AGAIN}")
    return dict(zip(table["image_id"], table["group"], strict=True))


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write the group of each image, sorted by image id."""
    rows = sorted(groups.items())
    table = pd.DataFrame(rows, columns=list(GROUPS)).astype(dict(GROUPS))
    write_text(path, csv_text(table))

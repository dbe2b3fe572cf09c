"""The tables of the audit: label issues, outliers, classes, and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from headstart._utils.csv_text import csv_text
from headstart._utils.files import write_text
from headstart.datasets.manifests import read_table

#: How to repair a file of the audit.
AGAIN = "Run `dvc repro --force audit` to write it again."

#: The kinds of label issues: more probably wrong than not, or only nearer to another class.
WRONG, NEAR = "wrong label", "near another class"

#: Images that are not taken for what they are labeled, the most doubtful first. ``suggested``: the
#: class they are taken for. ``doubt``: log odds against the label. ``wrong``: probability that it
#: is wrong. ``expected_precision``: mean of ``wrong`` from the first row to this one.
ISSUES: Mapping[str, str] = {
    "rank": "int64",
    "image_id": "str",
    "path": "str",
    "split": "str",
    "label": "str",
    "suggested": "str",
    "kind": "str",
    "doubt": "float64",
    "wrong": "float64",
    "expected_precision": "float64",
}
#: The images farthest from all classes. ``distance``: to the mean of the nearest class, about 1 for
#: an image like the others. ``outlier``: 1 if far above those of most images.
OUTLIERS: Mapping[str, str] = {
    "rank": "int64",
    "image_id": "str",
    "path": "str",
    "split": "str",
    "label": "str",
    "distance": "float64",
    "outlier": "int64",
}
#: Every class. ``images``: in train and validation. ``overlaps_with``: the class that it is most
#: often taken for or that is taken for it, with the number of such images of both, label issues
#: left out, and their share.
CLASSES: Mapping[str, str] = {
    "label": "str",
    "images": "int64",
    "too_small": "int64",
    "wrong_labels": "int64",
    "overlaps_with": "str",
    "confused": "int64",
    "overlap": "float64",
    "overlapping": "int64",
}
#: Accuracy by number of training images, with a 90 % band. ``kind``: measured | forecast.
CURVE: Mapping[str, str] = {
    "kind": "str",
    "images": "int64",
    "accuracy": "float64",
    "low": "float64",
    "high": "float64",
}


def read_issues(path: Path) -> pd.DataFrame:
    """Read the label issues."""
    return read_table(path, ISSUES, "a table of label issues", AGAIN)


def read_outliers(path: Path) -> pd.DataFrame:
    """Read the images farthest from all classes."""
    return read_table(path, OUTLIERS, "a table of outliers", AGAIN)


def read_classes(path: Path) -> pd.DataFrame:
    """Read the classes with their overlaps."""
    return read_table(path, CLASSES, "a table of classes", AGAIN)


def read_curve(path: Path) -> pd.DataFrame:
    """Read the learning curve."""
    return read_table(path, CURVE, "a learning curve", AGAIN)


def write(path: Path, table: pd.DataFrame) -> None:
    """Write one of the tables, whose rows are in their order."""
    write_text(path, csv_text(table))

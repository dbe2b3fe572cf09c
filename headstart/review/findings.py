"""What a person should look at: near duplicates, label issues, mistakes, rejected files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from headstart._utils.files import read_json
from headstart.audit.tables import read_issues
from headstart.datasets.duplicates import read_pairs
from headstart.datasets.manifests import read_images, read_rejected, read_split
from headstart.datasets.shards import Location
from headstart.evaluation.predictions import read_predictions

#: Findings of one kind that are shown at once.
MOST = 500


@dataclass(frozen=True)
class Files:
    """Paths of the files of a run. Those that do not exist are left out, but for the manifest."""

    manifest: Path
    shards: Path
    split: Path
    pairs: Path
    issues: Path
    predictions: Path
    evaluation: Path
    rejected: Path
    rejected_images: Path


@dataclass(frozen=True)
class Finding:
    """One thing to decide on.

    Attributes
    ----------
    key : str
        Unique in its list.
    images : tuple of str
        Ids: two of a pair, one of a label; none of a rejected file.
    about : str
        What was found, for people.
    note : str
        For the corrections: how the image came to be looked at.
    suggested : str
        The class that it is taken for; "" if none.
    file : str
        The path of a rejected file.
    """

    key: str
    images: tuple[str, ...]
    about: str
    note: str
    suggested: str = ""
    file: str = ""


@dataclass(frozen=True)
class Images:
    """What is known of the images of the source.

    Attributes
    ----------
    labels, paths, splits : mapping of str to str
        By image id; the labels are those of the source.
    places : mapping of str to Location
    """

    labels: Mapping[str, str]
    paths: Mapping[str, str]
    splits: Mapping[str, str]
    places: Mapping[str, Location]


@dataclass(frozen=True)
class Queue:
    """Findings of one kind, the most doubtful first.

    Attributes
    ----------
    name, title : str
    findings : sequence of Finding
    warning : str
        What a person must know before deciding; "" for nothing.
    """

    name: str
    title: str
    findings: Sequence[Finding] = field(repr=False)
    warning: str = ""


_TEST = (
    "These are test images that the model got wrong. Whoever corrects only the labels that the "
    "model disagrees with makes its scores better than they are: wrong labels that it agrees with "
    "stay. Relabel only what is plainly wrong. Relabeled test images are counted in "
    "data/metrics/split.json, and `headstart compare` shows its test with and without them."
)


def read_known(files: Files) -> Images:
    """Read labels, paths, splits and places of all images."""
    table = read_images(files.manifest).drop_duplicates("image_id")
    splits = read_split(files.split) if files.split.exists() else table.assign(split="")
    places = zip(table["shard"], table["offset"], table["bytes"], strict=True)
    return Images(
        labels=dict(zip(table["image_id"], table["label"], strict=True)),
        paths=dict(zip(table["image_id"], table["path"], strict=True)),
        splits=dict(zip(splits["image_id"], splits["split"], strict=True)),
        places={
            one: Location(*map(int, place))
            for one, place in zip(table["image_id"], places, strict=True)
        },
    )


def queues(files: Files, known: Images) -> list[Queue]:
    """Return the findings of each kind whose file exists."""
    found = []
    for name, title, path, read, warning in (
        ("duplicates", "Near duplicates", files.pairs, _duplicates, ""),
        ("label_issues", "Label issues", files.issues, _issues, ""),
        ("mistakes", "Worst mistakes", files.predictions, _mistakes, _TEST),
        ("rejected", "Rejected files", files.rejected, _rejected, ""),
    ):
        if path.exists():
            kept = [one for one in read(files) if set(one.images) <= known.labels.keys()]
            found.append(Queue(name, title, kept, warning))
    return found


def _duplicates(files: Files) -> Iterator[Finding]:
    """Yield the pairs; those across classes first, then those across predefined splits."""
    table = read_pairs(files.pairs)
    order = ["conflict", "leak", "similarity", "image_id", "other_id"]
    for row in _rows(table.sort_values(order, ascending=[False, False, True, True, True])):
        leak = "; in two predefined splits" if row["leak"] else ""
        yield Finding(
            f"{row['image_id']}:{row['other_id']}",
            (row["image_id"], row["other_id"]),
            f"{row['kind']}, similarity {row['similarity']:g}{leak}",
            f"near duplicate ({row['kind']})",
        )


def _issues(files: Files) -> Iterator[Finding]:
    for row in _rows(read_issues(files.issues).drop_duplicates("image_id")):
        yield Finding(
            row["image_id"],
            (row["image_id"],),
            f"{row['kind']}, wrong with probability {row['wrong']:.2f}; of the list up to here, "
            f"{row['expected_precision']:.0%} are expected to be wrong",
            f"label issue ({row['kind']})",
            row["suggested"],
        )


def _mistakes(files: Files) -> Iterator[Finding]:
    """Yield the test images that the model got wrong, the most certain of it first."""
    classes = [str(label) for label in read_json(files.evaluation)["classes"]]
    found = read_predictions(files.predictions, classes)
    table = found.rows.assign(certain=found.model.max(axis=1))
    wrong = table[table["label"] != table["predicted"]].drop_duplicates("image_id")
    for row in _rows(wrong.sort_values(["certain", "path"], ascending=[False, True])):
        yield Finding(
            row["image_id"],
            (row["image_id"],),
            f"predicted {row['predicted']} with {row['certain']:.1%}",
            "mistake on the test split",
            row["predicted"],
        )


def _rejected(files: Files) -> Iterator[Finding]:
    for row in _rows(read_rejected(files.rejected)):
        yield Finding(row["path"], (), f"{row['reason']}: {row['detail']}", "", file=row["path"])


def _rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = list(table.columns)
    for values in table.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))

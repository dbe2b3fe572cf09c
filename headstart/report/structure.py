"""A data set and a model as text: folders, splits, layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import pandas as pd

from headstart._utils.tables import columns, counted, plain
from headstart.report.images import by_split
from headstart.training.head import weight_shapes

_FROZEN = ("moving_mean", "moving_variance")


def tree(name: str, paths: Iterable[str], most: int = 30) -> str:
    """Return folders with the number of images in each, drawn as a tree.

    Parameters
    ----------
    name : str
        Of the top.
    paths : iterable of str
        Paths of images, with ``/`` between folders.
    most : int
        Folders that are shown of one folder; the others are counted in a line.
    """
    counts: Counter[str] = Counter()
    below: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")[:-1]
        folders = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
        counts.update(folders)
        for folder, inside in pairwise(folders):
            below.setdefault(folder, set()).add(inside)
    lines = [(f"{plain(name)}/", counts[""])]

    def walk(folder: str, indent: str) -> None:
        inner = sorted(below.get(folder, ()))
        for place, inside in enumerate(inner[:most], start=1):
            last, title = place == len(inner), plain(inside.rpartition("/")[2])
            lines.append((f"{indent}{'└── ' if last else '├── '}{title}/", counts[inside]))
            walk(inside, indent + ("    " if last else "│   "))
        if rest := inner[most:]:
            title = f"{indent}└── … and {counted(len(rest), 'more folder')}"
            lines.append((title, sum(counts[inside] for inside in rest)))

    walk("", "")
    width = max(len(text) for text, _ in lines)
    return "\n".join(f"{text:<{width}}  {count:>9,}" for text, count in lines)


def division(manifest: pd.DataFrame, most: int = 30) -> str:
    """Return the number of images of each class in train, validation and test."""
    numbers = by_split(manifest)
    rest = numbers.iloc[most:]
    parts = [(str(label), row) for label, row in numbers.iloc[:most].iterrows()]
    if len(rest):
        parts.append((f"… {counted(len(rest), 'more class', 'more classes')}", rest.sum()))
    parts.append(("all", numbers.sum()))
    rows = [(title, *(f"{count:,}" for count in (*row, row.sum()))) for title, row in parts]
    return columns([("class", *numbers.columns, "total"), *rows], "lrrrr")


@dataclass(frozen=True)
class LayerRow:
    """A line of a model's summary.

    Attributes
    ----------
    name, kind : str
    shape : tuple of int
        Of the output for one image.
    parameters, trainable : int
        Number of the layer's weights, and of those that learn.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int


def head_rows(
    layers: Sequence[Mapping[str, object]], feature_shape: Sequence[int], *, normalizes: bool
) -> list[LayerRow]:
    """Return the layers of a head.

    Parameters
    ----------
    layers : sequence of mapping
        See :mod:`headstart.training.head`.
    feature_shape : sequence of int
        Shape of the features that the head reads.
    normalizes : bool
        Its batch normalization learns, which it does not while the backbone is fine-tuned.
    """
    weights = weight_shapes(layers, feature_shape)
    shape = tuple(feature_shape)
    rows = []
    for place, layer in enumerate(layers):
        sizes = {
            name.partition(".")[2]: prod(sides)
            for name, sides in weights.items()
            if name.startswith(f"{place}.")
        }
        kind = str(layer["kind"])
        if kind == "flatten":
            shape = (prod(shape),)
        elif kind == "dense":
            shape = (int(str(layer["units"])),)
        learns = kind != "batch_normalization" or (normalizes and not layer.get("fixed"))
        trainable = sum(size for name, size in sizes.items() if name not in _FROZEN) * learns
        setting = {"dense": "activation", "dropout": "rate"}.get(kind)
        detail = f"{kind} {layer[setting]}" if setting else kind
        rows.append(LayerRow(f"head_{place}", detail, shape, sum(sizes.values()), trainable))
    return rows


def summary(rows: Sequence[LayerRow]) -> str:
    """Return the layers as a table."""
    lines = [("layer", "kind", "output", "parameters", "trainable")]
    for row in rows:
        shape = f"(n, {', '.join(map(str, row.shape))})"
        lines.append((row.name, row.kind, shape, f"{row.parameters:,}", f"{row.trainable:,}"))
    return columns(lines, "lllrr")


def totals(backbone: Sequence[LayerRow], head: Sequence[LayerRow]) -> str:
    """Return the parameters of backbone, head and both: all, trainable, frozen."""
    lines = [("", "parameters", "trainable", "frozen")]
    for name, rows in (("backbone", backbone), ("head", head), ("total", [*backbone, *head])):
        whole = sum(row.parameters for row in rows)
        learns = sum(row.trainable for row in rows)
        lines.append((name, f"{whole:,}", f"{learns:,}", f"{whole - learns:,}"))
    return columns(lines, "lrrr")


def folded(rows: Sequence[LayerRow], *, alone: bool) -> list[LayerRow]:
    """Return the rows with the frozen layers below the trainable ones as one line.

    Parameters
    ----------
    rows : sequence of LayerRow
    alone : bool
        One layer is trainable alone; then the frozen layers above it become a line too.
    """
    trainable = [place for place, row in enumerate(rows) if row.trainable]
    first = min(trainable, default=len(rows))
    last = max(trainable) + 1 if alone and trainable else len(rows)
    return [*_as_one(rows[:first]), *rows[first:last], *_as_one(rows[last:])]


def _as_one(rows: Sequence[LayerRow]) -> list[LayerRow]:
    if len(rows) < 2:
        return list(rows)
    name = f"{rows[0].name} … {rows[-1].name}"
    parameters = sum(row.parameters for row in rows)
    return [LayerRow(name, f"{len(rows)} frozen layers", rows[-1].shape, parameters, 0)]

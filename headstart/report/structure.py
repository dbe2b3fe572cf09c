"""What a data set and a model are made of, as text: folders, splits, batches, layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from headstart._utils.tables import columns, counted, plain
from headstart.datasets.manifests import SPLITS, class_names
from headstart.training.head import weight_shapes

_FROZEN = ("moving_mean", "moving_variance")


def tree(name: str, paths: Iterable[str], most: int = 30) -> str:
    """Folders with the number of images in each, drawn as a tree.

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
    total = 0
    for path in paths:
        total += 1
        parts = path.split("/")[:-1]
        for depth, part in enumerate(parts):
            folder = "/".join(parts[:depth])
            below.setdefault(folder, set()).add(part)
            counts["/".join(parts[: depth + 1])] += 1
    lines = [(f"{plain(name)}/", total)]

    def walk(folder: str, indent: str) -> None:
        names = sorted(below.get(folder, ()))
        shown = names[:most]
        for place, part in enumerate(shown):
            inside = f"{folder}/{part}" if folder else part
            last = place == len(names) - 1
            lines.append((f"{indent}{'└── ' if last else '├── '}{plain(part)}/", counts[inside]))
            walk(inside, indent + ("    " if last else "│   "))
        if len(names) > most:
            rest = [f"{folder}/{part}" if folder else part for part in names[most:]]
            left = sum(counts[inside] for inside in rest)
            lines.append(
                (
                    f"{indent}└── … and {counted(len(rest), 'more folder')}",
                    left,
                )
            )

    walk("", "")
    width = max(len(text) for text, _ in lines)
    return "\n".join(f"{text:<{width}}  {count:>9,}" for text, count in lines)


def division(manifest: pd.DataFrame, most: int = 30) -> str:
    """Images of each class in train, validation and test."""
    labels = class_names(manifest)
    cells = Counter(zip(manifest["label"], manifest["split"], strict=True))
    rows: list[tuple[str, ...]] = [("class", *SPLITS, "together")]

    def row(title: str, of: Sequence[str]) -> tuple[str, ...]:
        counts = [sum(cells[label, split] for label in of) for split in SPLITS]
        return (title, *(f"{count:,}" for count in counts), f"{sum(counts):,}")

    rows += [row(label, [label]) for label in labels[:most]]
    if len(labels) > most:
        rows.append(
            row(
                f"… {counted(len(labels) - most, 'more class', 'more classes')}",
                labels[most:],
            )
        )
    return columns([*rows, row("all", labels)], "lrrrr")


@dataclass(frozen=True)
class LayerRow:
    """A line of a model's summary.

    Attributes
    ----------
    name, kind : str
    shape : tuple of int
        Of the output for one image.
    parameters, trainable : int
        Numbers that the layer holds, and those of them that learn.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int


def head_rows(
    layers: Sequence[Mapping[str, object]], feature_shape: Sequence[int], *, normalizes: bool
) -> list[LayerRow]:
    """The layers of a head.

    Parameters
    ----------
    layers : sequence of mapping
        See :mod:`headstart.training.head`.
    feature_shape : sequence of int
        What the head reads.
    normalizes : bool
        Whether its batch normalization learns: it does not while the backbone is fine-tuned.
    """
    weights = weight_shapes(layers, feature_shape)
    shape = tuple(feature_shape)
    rows = []
    for place, layer in enumerate(layers):
        own = {name: sides for name, sides in weights.items() if name.startswith(f"{place}.")}
        sizes = {name.partition(".")[2]: _product(sides) for name, sides in own.items()}
        kind = str(layer["kind"])
        if kind == "flatten":
            shape = (_product(shape),)
        elif kind == "dense":
            shape = (int(str(layer["units"])),)
        learns = normalizes or kind != "batch_normalization"
        trainable = sum(size for name, size in sizes.items() if name not in _FROZEN) * learns
        told = {"dense": "activation", "dropout": "rate"}.get(kind)
        detail = f"{kind} {layer[told]}" if told else kind
        rows.append(LayerRow(f"head_{place}", detail, shape, sum(sizes.values()), trainable))
    return rows


def _product(sides: Sequence[int]) -> int:
    found = 1
    for side in sides:
        found *= side
    return found


def summary(rows: Sequence[LayerRow]) -> str:
    """The layers and their sums, as a table."""
    lines = [("layer", "kind", "output", "parameters", "trainable")]
    lines += [
        (
            row.name,
            row.kind,
            f"(n, {', '.join(map(str, row.shape))})",
            f"{row.parameters:,}",
            f"{row.trainable:,}",
        )
        for row in rows
    ]
    return columns(lines, "lllrr")


def totals(backbone: Sequence[LayerRow], head: Sequence[LayerRow]) -> str:
    """Return the parameters of backbone, head and both: all, trainable, frozen."""
    lines = [("", "parameters", "trainable", "frozen")]
    for name, rows in (("backbone", backbone), ("head", head), ("together", [*backbone, *head])):
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
        Whether one layer is trainable alone: then the frozen layers above it become a line too.
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

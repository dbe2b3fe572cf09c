"""The result of splitting the images: the manifest, its counts, and what a person should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from headstart._utils import tables
from headstart._utils.tables import counted, plain
from headstart.datasets.advice import Known, advice, by_class, lines
from headstart.datasets.groups import HeldTogether
from headstart.datasets.manifests import SPLITS, class_names

_MOST_CLASSES = 20  # lines of a table in a terminal
_MOST_MOVED = 5  # classes


@dataclass(frozen=True)
class Division:
    """A split manifest and its origin.

    Attributes
    ----------
    manifest : DataFrame
        The image manifest with a column ``split``.
    kept : tuple of str
        The splits that are those of the source.
    held_out : str
        The source's name for the test split; "" if the source has none.
    leaked : int
        Images that the source has in two splits, by their bytes or their group; all their copies
        went to train.
    leaked_groups : sequence of str
        Groups with images in two predefined splits.
    two_labels : int
        Images with byte-identical copies under different labels.
    repaired : mapping of str to mapping
        For each class whose splits the hash left outside of the limits: groups moved, by the
        split that they moved to.
    absent : mapping of str to sequence
        Classes without an image in a predefined split, by split.
    together : HeldTogether
        The groups, and the effect of near duplicates on them.
    """

    manifest: pd.DataFrame
    kept: tuple[str, ...]
    held_out: str
    leaked: int
    leaked_groups: Sequence[str]
    two_labels: int
    repaired: Mapping[str, Mapping[str, int]]
    absent: Mapping[str, Sequence[str]]
    together: HeldTogether

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of rows per split and class, zeros included."""
        return by_class(self.manifest)

    def metrics(self) -> dict[str, object]:
        """Return the numbers for the metrics file."""
        per_split = self.counts()
        return {
            "images": {name: sum(of.values()) for name, of in per_split.items()},
            # A list, which DVC's tables of metrics leave out: three columns per class fill them.
            "classes": [
                {"label": label, **{name: of[label] for name, of in per_split.items()}}
                for label in class_names(self.manifest)
            ],
            "predefined_kept": list(self.kept),
            "predefined_test": self.held_out,
            "in_several_predefined_splits": self.leaked,
            "under_two_labels": self.two_labels,
            "repaired": [{"label": label, **of} for label, of in self.repaired.items()],
            "duplicates": self.together.metrics(),
            "absent_from_predefined": {name: list(of) for name, of in self.absent.items()},
            "advice": advice(Known(per_split)),
        }

    def describe(self) -> str:
        """Return a table of the counts for a terminal, with notes below."""
        per_split = self.counts()
        labels = class_names(self.manifest)
        most = _MOST_CLASSES if len(labels) <= _MOST_CLASSES else _MOST_CLASSES - 1
        blocks = [(label, [label]) for label in labels[:most]]
        if more := labels[most:]:
            blocks.append((counted(len(more), "more class", "more classes"), more))
        blocks.append(("all", labels))
        rows = [
            (title, *(f"{sum(per_split[name][label] for label in of):,}" for name in SPLITS))
            for title, of in blocks
        ]
        table = tables.columns([("", *SPLITS), *rows], "lrrr")
        return "\n".join([table, *self._notes(), *lines(advice(Known(per_split)))])

    def _moved(self) -> list[str]:
        """Return a note on the images that were moved, with a few of their classes."""
        if not self.repaired:
            return []
        shown = "; ".join(
            f"{plain(label)}: {' and '.join(f'{count:,} to {name}' for name, count in of.items())}"
            for label, of in list(self.repaired.items())[:_MOST_MOVED]
        )
        more = len(self.repaired) - _MOST_MOVED
        others = f"; and in {counted(more, 'more class', 'more classes')}" if more > 0 else ""
        note = (
            "To be near the shares in small classes, the nearest images (or groups) by hash moved: "
            f"{shown}{others}. When you add images "
            "to these classes, a few may move again."
        )
        return [note]

    def _notes(self) -> list[str]:
        notes = []
        if self.kept:
            notes.append(f"Predefined splits that are kept: {', '.join(self.kept)}.")
        if self.held_out == "validation":
            notes.append(
                "The source's held-out part is called validation; it is the test split here, and "
                "a validation split was taken from train, so that the images that choose the model "
                "do not also judge it."
            )
        if self.leaked:
            by = ", by their bytes or their group" if self.leaked_groups else ""
            notes.append(
                f"Images in more than one predefined split{by}: {self.leaked:,}; all their copies "
                "went to train."
            )
        if self.leaked_groups:
            names = tables.listed([plain(name) for name in self.leaked_groups])
            notes.append(
                f"Groups in more than one predefined split: {names}. If these names mean other "
                "objects in each split, rename them, or group by another pattern."
            )
        if self.two_labels:
            notes.append(
                f"Images under more than one label, byte for byte: {self.two_labels:,}; all but "
                "one of the labels must be wrong."
            )
        notes += self.together.notes()
        notes += self._moved()
        notes += [
            f"No image in the predefined {name} of: {', '.join(map(plain, labels))}."
            for name, labels in self.absent.items()
        ]
        return notes

"""The result of an ingest: image manifest, rejected files, metrics, and a report for people."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from headstart._utils.errors import SourceError
from headstart._utils.tables import counted, plain
from headstart.datasets.manifests import REJECTED, SPLITS, frame
from headstart.sources.class_names import look_alikes

_MOST_CLASSES = 30  # lines of a table in a terminal


def rejected_lines(rejected: pd.DataFrame) -> list[str]:
    """Return the number of rejected files for each reason, with the details of the first three."""
    lines = []
    for reason, files in rejected.groupby("reason"):
        lines.append(f"  {reason} ({len(files):,})")
        lines += [
            f"    {plain(str(file.path))}: {plain(str(file.detail))}"
            for file in files[:3].itertuples()
        ]
        if len(files) > 3:
            lines.append(f"    … and {len(files) - 3:,} more")
    return lines


class UnusableError(SourceError):
    """A source without images of two classes.

    Parameters
    ----------
    fault : str
        The images that were found and those that were expected.
    rejected : sequence of (path, reason, detail)
        Every rejected file: the reason most often stands there.
    """

    def __init__(self, fault: str, rejected: Sequence[tuple[str, str, str]]) -> None:
        rows = [dict(zip(REJECTED, each, strict=True)) for each in sorted(rejected)]
        self.rejected = frame(rows, REJECTED)
        lines = [f"{counted(len(rejected), 'file')} rejected:", *rejected_lines(self.rejected)]
        super().__init__("\n".join([fault, *(lines if rows else [])]))


@dataclass(frozen=True)
class Ingested:
    """All files of a source, each kept or rejected, sorted by path.

    Attributes
    ----------
    images : DataFrame
        The image manifest.
    rejected : DataFrame
        The rejected files with their reasons.
    remarks : sequence of str
        Points to check before trusting a model, as sentences.
    """

    images: pd.DataFrame
    rejected: pd.DataFrame
    remarks: Sequence[str] = ()

    @cached_property
    def label_conflicts(self) -> list[list[str]]:
        """The paths of images whose bytes occur under several labels."""
        of = self.images.drop_duplicates(["image_id", "label"])["image_id"]
        several = self.images["image_id"].isin(of[of.duplicated()])
        return [list(paths) for _, paths in self.images[several].groupby("image_id")["path"]]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The numbers for the metrics file; ``files = kept + rejected``."""
        images = self.images
        splits = Counter(images["predefined_split"].tolist())
        return {
            "files": len(images) + len(self.rejected),
            "kept": len(images),
            "rejected": len(self.rejected),
            "rejected_by_reason": dict(Counter(self.rejected["reason"])),
            # A list, which DVC's tables of metrics leave out: a column per class would fill them.
            "classes": [
                {"label": label, "images": count}
                for label, count in sorted(Counter(images["label"].tolist()).items())
            ],
            "duplicates": len(images) - images["image_id"].nunique(),
            "label_conflicts": len(self.label_conflicts),
            "predefined_splits": {name: splits[name] for name in SPLITS if splits[name]},
            "bytes": int(images["bytes"].sum()),
        }

    def describe(self) -> str:
        """Return the counts for a terminal, with a few rejected files per reason."""
        counts = self.metrics
        lines = [
            f"{counts['kept']:,} of {counts['files']:,} files kept, {counts['bytes']:,} bytes.",
            *self._classes(counts),
        ]
        if counts["duplicates"]:
            lines.append(f"{counts['duplicates']:,} of them repeat the bytes of another image.")
        if self.rejected.empty:
            return "\n".join([*lines, "No file was rejected."])
        lines.append(f"{len(self.rejected):,} rejected:")
        return "\n".join([*lines, *rejected_lines(self.rejected)])

    def _classes(self, counts: dict[str, Any]) -> list[str]:
        """Return the images per class, by split where the source is divided."""
        cells = Counter(
            zip(
                *(self.images[name].tolist() for name in ("label", "predefined_split")), strict=True
            )
        )
        classes = counts["classes"]
        width = max(len(row["label"]) for row in classes)
        lines = []
        for label, count in (row.values() for row in classes[:_MOST_CLASSES]):
            of = {split: cells[label, split] for split in counts["predefined_splits"]}
            parts = ", ".join(f"{number:,} {split}" for split, number in of.items() if number)
            lines.append(f"  {label:<{width}}  {count:>9,}" + (f"  ({parts})" if parts else ""))
        if len(classes) > _MOST_CLASSES:
            lines.append(f"  … and {len(classes) - _MOST_CLASSES:,} more classes")
        return lines

    def warn(self) -> None:
        """Print contradictions and points to check to standard error."""
        for remark in [*look_alikes(Counter(self.images["label"].tolist())), *self.remarks]:
            print(f"\nWARNING: {remark[0].upper()}{remark[1:]}", file=sys.stderr)
        conflicts = self.label_conflicts
        if not conflicts:
            return
        print(
            f"\nWARNING: {len(conflicts):,} images occur under several labels. All are kept, and a "
            "model cannot be right about them. Remove the wrong copies:",
            file=sys.stderr,
        )
        for paths in conflicts[:10]:
            print("  " + "  =  ".join(paths), file=sys.stderr)
        if len(conflicts) > 10:
            print(f"  … and {len(conflicts) - 10:,} more", file=sys.stderr)

"""The result of an ingest: image manifest, rejected files, metrics, and a report for people."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headstart.datasets.manifests import IMAGES, REJECTED, SPLITS, frame
from headstart.datasets.shards import Location
from headstart.images.decode import ImageInfo
from headstart.sources.source import Assignment

_MOST_CLASSES = 30  # lines of a table in a terminal


@dataclass(frozen=True)
class KeptImage:
    """A file that is an image of the data set."""

    path: str
    assignment: Assignment
    image_id: str
    info: ImageInfo
    bytes: int


@dataclass(frozen=True)
class RejectedFile:
    """A file that is not, with a reason of :data:`headstart.datasets.manifests.REASONS`."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Ingested:
    """All files of a source, each kept or rejected, sorted by path.

    Attributes
    ----------
    kept : sequence of KeptImage
    rejected : sequence of RejectedFile
    locations : mapping of str to Location
        ``image_id`` to the place of its bytes in the shards.
    """

    kept: Sequence[KeptImage]
    rejected: Sequence[RejectedFile]
    locations: Mapping[str, Location]

    @property
    def manifest(self) -> pd.DataFrame:
        """The image manifest."""
        rows = [
            {
                "image_id": image.image_id,
                "path": image.path,
                "label": image.assignment.label,
                "predefined_split": image.assignment.predefined_split,
                "width": image.info.width,
                "height": image.info.height,
                "format": image.info.format,
                "bytes": image.bytes,
                "group": image.assignment.group,
                "shard": self.locations[image.image_id].shard,
                "offset": self.locations[image.image_id].offset,
            }
            for image in self.kept
        ]
        return frame(rows, IMAGES)

    @property
    def rejected_table(self) -> pd.DataFrame:
        """The rejected files with their reasons."""
        return frame([vars(file) for file in self.rejected], REJECTED)

    def label_conflicts(self) -> dict[str, list[KeptImage]]:
        """Return images whose bytes occur under several labels, by ``image_id``."""
        by_id: defaultdict[str, list[KeptImage]] = defaultdict(list)
        for image in self.kept:
            by_id[image.image_id].append(image)
        return {
            image_id: same
            for image_id, same in sorted(by_id.items())
            if len({image.assignment.label for image in same}) > 1
        }

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for the metrics file; ``files = kept + rejected``."""
        splits = Counter(image.assignment.predefined_split for image in self.kept)
        labels = Counter(image.assignment.label for image in self.kept)
        return {
            "files": len(self.kept) + len(self.rejected),
            "kept": len(self.kept),
            "rejected": len(self.rejected),
            "rejected_by_reason": dict(Counter(file.reason for file in self.rejected)),
            # A list, which DVC's tables of metrics leave out: a column per class would fill them.
            "classes": [{"label": label, "images": labels[label]} for label in sorted(labels)],
            "duplicates": len(self.kept) - len({image.image_id for image in self.kept}),
            "label_conflicts": len(self.label_conflicts()),
            "predefined_splits": {name: splits[name] for name in SPLITS if splits[name]},
            "bytes": sum(image.bytes for image in self.kept),
        }

    def describe(self) -> str:
        """Return the counts for a terminal, with a few rejected files per reason."""
        counts = self.metrics()
        lines = [
            f"{counts['kept']:,} of {counts['files']:,} files kept, {counts['bytes']:,} bytes."
        ]
        lines += self._classes(counts)
        if counts["duplicates"]:
            lines.append(f"{counts['duplicates']:,} of them repeat the bytes of another image.")
        if not self.rejected:
            return "\n".join([*lines, "No file was rejected."])
        lines.append(f"{len(self.rejected):,} rejected:")
        for reason, number in sorted(counts["rejected_by_reason"].items()):
            first = [file for file in self.rejected if file.reason == reason][:3]
            lines.append(f"  {reason} ({number:,})")
            lines += [f"    {file.path}: {file.detail}" for file in first]
            if number > len(first):
                lines.append(f"    … and {number - len(first):,} more")
        return "\n".join(lines)

    def _classes(self, counts: Mapping[str, Any]) -> list[str]:
        """Return the images per class, by split where the source is divided."""
        columns = list(counts["predefined_splits"])
        cells = Counter(
            (image.assignment.label, image.assignment.predefined_split) for image in self.kept
        )
        width = max((len(row["label"]) for row in counts["classes"]), default=0)
        lines = []
        for row in counts["classes"][:_MOST_CLASSES]:
            label = row["label"]
            parts = [f"{cells[label, split]:,} {split}" for split in columns if cells[label, split]]
            divided = f"  ({', '.join(parts)})" if parts else ""
            lines.append(f"  {label:<{width}}  {row['images']:>9,}{divided}")
        if len(counts["classes"]) > _MOST_CLASSES:
            lines.append(f"  … and {len(counts['classes']) - _MOST_CLASSES:,} more classes")
        return lines

    def warn(self) -> None:
        """Print the images that contradict themselves to standard error."""
        conflicts = self.label_conflicts()
        if not conflicts:
            return
        print(
            f"\nWARNING: {len(conflicts):,} images occur under several labels. All are kept, and a "
            "model cannot be right about them. Remove the wrong copies:",
            file=sys.stderr,
        )
        for same in list(conflicts.values())[:10]:
            print("  " + "  =  ".join(image.path for image in same), file=sys.stderr)
        if len(conflicts) > 10:
            print(f"  … and {len(conflicts) - 10:,} more", file=sys.stderr)

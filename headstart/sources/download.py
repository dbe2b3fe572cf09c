"""From a source to checked images in shards and an image manifest.

Every file is decoded once. What is no usable image is rejected with a reason and counted:
files = kept + rejected, always.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from headstart._utils.errors import SourceError
from headstart.archives.members import ArchiveLimits
from headstart.datasets.manifests import (
    IMAGES,
    SPLITS,
    frame,
)
from headstart.datasets.shards import Location
from headstart.sources.archive import ArchiveSource
from headstart.sources.embedded import EmbeddedSource
from headstart.sources.fetched import fetch_archive
from headstart.sources.folder import FolderSource
from headstart.sources.ingest import Aside, Taken
from headstart.sources.kaggle import open_kaggle
from headstart.sources.parameters import DownloadParams
from headstart.sources.source import Source
from headstart.sources.table import TableSource
from headstart.sources.table_file import Columns
from headstart.sources.tfds import TfdsSource
from headstart.sources.tfds_prepared import Features


def open_source(params: DownloadParams, location: Path) -> Source:
    """The source that the parameters name, listed and checked as a whole."""
    return _OPENERS[params.source](params, location)


def _embedded(params: DownloadParams, location: Path) -> Source:
    del params, location
    return EmbeddedSource()


def _folder(params: DownloadParams, location: Path) -> Source:
    return FolderSource(location, params.max_total_bytes)


def _archive(params: DownloadParams, location: Path) -> Source:
    if params.url is not None:
        if params.sha256 is None:
            raise SourceError("`download.sha256` must be given with `download.url`.")
        location = fetch_archive(params.url, params.sha256, params.max_total_bytes)
    return ArchiveSource(location, params.sha256, ArchiveLimits(params.max_total_bytes))


def _table(params: DownloadParams, location: Path) -> Source:
    columns = Columns(
        label=params.label_column or "",
        path=params.path_column,
        url=params.url_column,
        split=params.split_column,
        group=params.group_column,
        sha256=params.sha256_column,
    )
    return TableSource(
        location,
        params.table or "",
        columns,
        params.root,
        params.splits,
        params.max_image_bytes,
        params.max_total_bytes,
    )


def _tfds(params: DownloadParams, location: Path) -> Source:
    return TfdsSource(
        params.name or "",
        location,
        Features(params.path_column, params.label_column, params.group_column),
        params.splits,
        params.max_image_bytes,
        params.max_total_bytes,
    )


def _kaggle(params: DownloadParams, location: Path) -> Source:
    del location  # the name pins a version, which never changes
    return open_kaggle(params.name or "", ArchiveLimits(params.max_total_bytes))


_OPENERS: Mapping[str, Callable[[DownloadParams, Path], Source]] = {
    "embedded": _embedded,
    "folder": _folder,
    "archive": _archive,
    "table": _table,
    "tfds": _tfds,
    "kaggle": _kaggle,
}


def table(taken: Sequence[Taken], places: Mapping[str, Location]) -> pd.DataFrame:
    """The image manifest of the kept images."""
    rows = [
        {
            "image_id": image.image_id,
            "path": image.path,
            "label": image.place.label,
            "predefined_split": image.place.predefined_split,
            "width": image.info.width,
            "height": image.info.height,
            "format": image.info.format,
            "bytes": image.bytes,
            "group": image.place.group,
            "shard": places[image.image_id].shard,
            "offset": places[image.image_id].offset,
        }
        for image in taken
    ]
    return frame(rows, IMAGES)


def conflicts(taken: Sequence[Taken]) -> dict[str, list[Taken]]:
    """Images whose bytes stand under several labels, by ``image_id``."""
    by_id: defaultdict[str, list[Taken]] = defaultdict(list)
    for image in taken:
        by_id[image.image_id].append(image)
    return {
        image_id: same
        for image_id, same in sorted(by_id.items())
        if len({image.place.label for image in same}) > 1
    }


def measures(taken: Sequence[Taken], aside: Sequence[Aside]) -> dict[str, Any]:
    """The counts that the metrics record; ``files = kept + rejected``."""
    splits = Counter(image.place.predefined_split for image in taken)
    labels = Counter(image.place.label for image in taken)
    return {
        "files": len(taken) + len(aside),
        "kept": len(taken),
        "rejected": len(aside),
        "rejected_by_reason": dict(Counter(file.reason for file in aside)),
        # A list, which DVC's tables of metrics leave out: a column a class would fill them.
        "classes": [{"label": label, "images": labels[label]} for label in sorted(labels)],
        "duplicates": len(taken) - len({image.image_id for image in taken}),
        "label_conflicts": len(conflicts(taken)),
        "predefined_splits": {name: splits[name] for name in SPLITS if splits[name]},
        "bytes": sum(image.bytes for image in taken),
    }


def report(counts: Mapping[str, Any], taken: Sequence[Taken], aside: Sequence[Aside]) -> str:
    """What was kept and what was not, for the terminal."""
    lines = [f"{counts['kept']:,} of {counts['files']:,} files kept, {counts['bytes']:,} bytes."]
    lines += _grid(taken, counts)
    if counts["duplicates"]:
        lines.append(f"{counts['duplicates']:,} of them repeat the bytes of another image.")
    if not aside:
        return "\n".join([*lines, "No file was rejected."])
    lines.append(f"{len(aside):,} rejected:")
    for reason, number in sorted(counts["rejected_by_reason"].items()):
        first = [file for file in aside if file.reason == reason][:3]
        lines.append(f"  {reason} ({number:,})")
        lines += [f"    {file.path}: {file.detail}" for file in first]
        if number > len(first):
            lines.append(f"    … and {number - len(first):,} more")
    return "\n".join(lines)


def _grid(taken: Sequence[Taken], counts: Mapping[str, Any]) -> list[str]:
    """Images a class, by split where the source is divided."""
    most = 30
    columns = list(counts["predefined_splits"])
    cells = Counter((image.place.label, image.place.predefined_split) for image in taken)
    width = max((len(row["label"]) for row in counts["classes"]), default=0)
    lines = []
    for row in counts["classes"][:most]:
        label = row["label"]
        parts = [f"{cells[label, split]:,} {split}" for split in columns if cells[label, split]]
        divided = f"  ({', '.join(parts)})" if parts else ""
        lines.append(f"  {label:<{width}}  {row['images']:>9,}{divided}")
    if len(counts["classes"]) > most:
        lines.append(f"  … and {len(counts['classes']) - most:,} more classes")
    return lines


def warn(found: Mapping[str, Sequence[Taken]]) -> None:
    """Name the images that contradict themselves."""
    if not found:
        return
    print(
        f"\nWARNING: {len(found):,} images stand under several labels. All are kept, and a model "
        "cannot be right about them. Remove the wrong copies:",
        file=sys.stderr,
    )
    for same in list(found.values())[:10]:
        print("  " + "  =  ".join(image.path for image in same), file=sys.stderr)
    if len(found) > 10:
        print(f"  … and {len(found) - 10:,} more", file=sys.stderr)


def check_classes(taken: Sequence[Taken], aside: Sequence[Aside], origin: str) -> None:
    """Raise HeadstartError if there are fewer than two classes."""
    kept = sorted({image.place.label for image in taken})
    if len(kept) >= 2:
        return
    reasons = ", ".join(f"{n:,} {name}" for name, n in Counter(a.reason for a in aside).items())
    raise SourceError(
        f"{origin} holds usable images of {len(kept)} classes ({', '.join(kept) or 'none'}); at "
        f"least 2 are needed. Rejected: {reasons or 'nothing'}. Nothing was written. The limits "
        "are `formats`, `min_side`, `max_pixels` and `max_image_bytes` of `download`."
    )


def check_room(folder: Path, needed: int) -> None:
    """A disk that fills up in the middle would end in an error that names no cause."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceError(
            f"The images need {needed:,} bytes, and {folder} has room for {free:,}. Nothing was "
            "written. Make room and run again."
        )

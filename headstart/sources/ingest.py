"""Ingest a source: every file is decoded once, and stored or rejected with a reason.

Decoding runs in threads, within bounded memory. Files = kept + rejected, always.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.progress import progress
from headstart._utils.tables import counted, listed, plain
from headstart._utils.threads import in_threads
from headstart.datasets.manifests import IMAGES, REJECTED, frame
from headstart.datasets.shards import ShardWriter
from headstart.images.decode import ImageInfo, inspect
from headstart.images.samples import Traits
from headstart.images.thumbnails import ThumbnailFolder, rejected_thumbnail
from headstart.sources import kinds
from headstart.sources.assigned import Rejected, assign
from headstart.sources.ingested import Ingested, UnusableError
from headstart.sources.parameters import DownloadParams, limits_of
from headstart.sources.remarks import remarks
from headstart.sources.source import Assignment, Source
from headstart.sources.stand_ins import check_stand_in
from headstart.stage.space import require_space

_File = tuple[str, bytes | ImageError]


def ingest(source: Source, params: DownloadParams, images: Path, thumbnails: Path) -> Ingested:
    """Read, decode and store every image of a source.

    Parameters
    ----------
    source : Source
    params : DownloadParams
        Root, splits and limits; the source itself is open already.
    images : Path
        Existing folder that gets the shards.
    thumbnails : Path
        Existing folder that gets thumbnails of a few rejected files.

    Returns
    -------
    Ingested
        Sorted by path, whatever thread was first.

    Raises
    ------
    UnusableError
        If no two classes are found.
    SourceError
        If the disk has no room.
    """
    assigned = assign(source, params)
    print(*assigned.notes, sep="\n", flush=True)
    wanted, rejected = assigned.wanted, list(assigned.rejected)
    require_space({images: assigned.bytes})
    limits = limits_of(params)
    folder = ThumbnailFolder(thumbnails)
    probes = _probes(wanted)
    kept: list[dict[str, Any]] = []
    traits: dict[str, Traits] = {}
    with ShardWriter(images) as writer, progress(len(wanted), "Checking", "image") as bar:

        def decode(file: _File) -> tuple[str, ImageInfo, bool | None] | ImageError:
            path, content = file
            if isinstance(content, ImageError):
                return content
            try:
                check_stand_in(content)
                info = inspect(content, limits)
            except ImageError as fault:
                return fault
            few = kinds.has_few_colors(content, info) if path in probes else None
            return writer.add(content, info.ext), info, few

        def size(file: _File) -> int:
            return len(file[1]) if isinstance(file[1], bytes) else 0

        files = source.contents(wanted.keys())
        with closing(in_threads(decode, files, size=size)) as results:
            for (path, given), result in results:
                content = b"" if isinstance(given, ImageError) else given
                bar.update()
                if isinstance(result, ImageError):
                    rejected.append((path, result.reason, result.detail))
                    # Here and not in a thread, so that every run shows the same first few.
                    room = folder.has_room(result.reason)
                    image = rejected_thumbnail(content) if room and content else None
                    if image:
                        folder.add(path, result.reason, image)
                    continue
                image_id, info, few = result
                row: dict[str, Any] = {"path": path, "image_id": image_id, "few": few}
                traits[path] = info.traits
                row |= {"bytes": len(content), **asdict(info), **asdict(wanted[path])}
                kept.append(row)
        _check(source, kept, rejected)
        locations = writer.finish()
    folder.close()
    rows = [{**row, **asdict(locations[row["image_id"]])} for row in kept]
    return Ingested(
        frame(sorted(rows, key=lambda row: str(row["path"])), IMAGES),
        frame([dict(zip(REJECTED, each, strict=True)) for each in sorted(rejected)], REJECTED),
        (*kinds.differences(kept), *remarks(traits)),
    )


def _probes(wanted: Mapping[str, Assignment]) -> set[str]:
    """Return the first paths of each class, so that every run probes the same."""
    of_class: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(wanted):
        of_class[wanted[path].label].append(path)
    return {path for paths in of_class.values() for path in paths[: kinds.PROBES]}


def _check(source: Source, kept: Sequence[Mapping[str, Any]], rejected: Sequence[Rejected]) -> None:
    """Stop if a file is missing, or if there are fewer than two classes."""
    if len(kept) + len(rejected) != len(source.entries):
        raise HeadstartError(
            f"Of {len(source.entries):,} files, {len(kept):,} were kept and {len(rejected):,} "
            "rejected, which does not add up. Nothing was written. Please report this."
        )
    labels = sorted({row["label"] for row in kept})
    if len(labels) < 2:
        raise UnusableError(
            f"{source.origin} holds usable images of {counted(len(labels), 'class', 'classes')}"
            f"{''.join(f' ({plain(label)})' for label in labels)}; at least 2 are needed."
            f"{_inner_root(kept)}{_limits(rejected)}",
            rejected,
        )


def _inner_root(kept: Sequence[Mapping[str, Any]]) -> str:
    """Return the folder that may hold the classes, in a sentence, if all images are below it."""
    folders = [str(row["path"]).split("/")[:-1] for row in kept]
    depth = 0
    while len({tuple(folder[: depth + 1]) for folder in folders}) == 1 and depth < len(folders[0]):
        depth += 1
    above = folders[0][:depth] if folders else []
    below = {folder[depth] for folder in folders if len(folder) > depth}
    if len(below) < 2:
        return ""
    return (
        f" If the folders in {'/'.join(above)} ({listed(sorted(below))}) are the classes, set "
        f"`download.root: {'/'.join(above)}`."
    )


def _limits(rejected: Sequence[Rejected]) -> str:
    if {reason for _, reason, _ in rejected} & {"refused_format", "too_small", "too_large"}:
        return (
            " The limits are `formats`, `min_side`, `max_pixels` and `max_image_bytes` of "
            "`download`."
        )
    return ""

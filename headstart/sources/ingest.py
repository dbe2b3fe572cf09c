"""Ingest a source: every file is decoded once, and stored or rejected with a reason.

Decoding runs in threads, within bounded memory. Files = kept + rejected, always.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headstart._utils.errors import HeadstartError, ImageError, SourceError
from headstart._utils.progress import Progress, progress
from headstart.datasets.shards import ShardWriter
from headstart.images.decode import Limits, inspect
from headstart.images.thumbnails import ThumbnailFolder, rejected_thumbnail
from headstart.sources.ingested import Ingested, KeptImage, RejectedFile
from headstart.sources.layout import recognize, unwanted
from headstart.sources.parameters import DownloadParams
from headstart.sources.source import Assignment, Assignments, Entry, Source

_WINDOW_BYTES = 128 << 20  # of images that wait for a thread; one larger image is let through
_WINDOW_FILES = 256


@dataclass(frozen=True)
class IngestPlan:
    """The fate of each file before any is read.

    Attributes
    ----------
    layout : Assignments
    wanted : mapping of str to Assignment
        The files to read.
    rejected : tuple of RejectedFile
        All others.
    bytes : int
        Of the files to read.
    """

    layout: Assignments
    wanted: Mapping[str, Assignment]
    rejected: tuple[RejectedFile, ...]
    bytes: int


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
    SourceError
        If no two classes are found, or the disk has no room.
    """
    limits = Limits(
        tuple(params.formats), params.min_side, params.max_pixels, params.max_image_bytes
    )
    plan = plan_ingest(source, limits, params.root, params.splits)
    print(plan.layout.describe(), flush=True)
    _check_room(images, plan.bytes)
    folder = ThumbnailFolder(thumbnails)
    with ShardWriter(images) as writer, _Reading(plan, limits, writer, folder) as reading:
        reading.read(source)
        kept = sorted(reading.kept, key=lambda image: image.path)
        rejected = sorted(reading.rejected, key=lambda file: file.path)
        _check_sum(source, len(kept), len(rejected))
        _check_classes(source, kept, rejected)
        locations = writer.finish()
    folder.close()
    return Ingested(kept, rejected, locations)


def plan_ingest(
    source: Source,
    limits: Limits,
    root: str | None = None,
    splits: Mapping[str, str] | None = None,
) -> IngestPlan:
    """Assign each file its class and split, and reject the files that need no reading.

    Parameters
    ----------
    source : Source
    limits : Limits
    root, splits
        As :func:`headstart.sources.layout.recognize` takes them.

    Raises
    ------
    SourceError
        If no two classes are found.
    """
    rejected: list[RejectedFile] = []
    candidates: list[Entry] = []
    for entry in source.entries:
        fault = entry.rejection or unwanted(entry.path)
        if fault:
            rejected.append(RejectedFile(entry.path, *fault))
        else:
            candidates.append(entry)
    layout = source.assignments or recognize(
        (entry.path for entry in candidates), root, source.origin, splits
    )
    wanted: dict[str, Assignment] = {}
    total = 0
    for entry in candidates:
        assignment = layout.assign(entry.path)
        if not isinstance(assignment, Assignment):
            rejected.append(RejectedFile(entry.path, *assignment))
        elif entry.size > limits.max_bytes:
            detail = f"{entry.size:,} bytes; at most {limits.max_bytes:,} are accepted"
            rejected.append(RejectedFile(entry.path, "too_large", detail))
        else:
            wanted[entry.path] = assignment
            total += entry.size
    return IngestPlan(layout, wanted, tuple(rejected), total)


class _Reading:
    """The files of a plan on their way through the threads."""

    def __init__(
        self, plan: IngestPlan, limits: Limits, writer: ShardWriter, thumbnails: ThumbnailFolder
    ) -> None:
        self._plan, self._limits = plan, limits
        self._writer, self._thumbnails = writer, thumbnails
        self.kept: list[KeptImage] = []
        self.rejected = list(plan.rejected)
        self._waiting: deque[tuple[bytes, Future[KeptImage | RejectedFile]]] = deque()
        self._held = 0
        self._pool = ThreadPoolExecutor(os.cpu_count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self, source: Source) -> None:
        """Read and decode every planned file."""
        wanted = self._plan.wanted
        with progress(len(wanted), "Checking", "image") as bar:
            for path, content in source.contents(wanted.keys()):
                if isinstance(content, ImageError):
                    self.rejected.append(RejectedFile(path, content.reason, content.detail))
                    bar.update()
                    continue
                while self._full(len(content)):
                    self._collect(bar)
                self._held += len(content)
                self._waiting.append((content, self._pool.submit(self._decode, path, content)))
            while self._waiting:
                self._collect(bar)

    def _full(self, more: int) -> bool:
        over = self._held + more > _WINDOW_BYTES or len(self._waiting) >= _WINDOW_FILES
        return bool(self._waiting) and over

    def _decode(self, path: str, content: bytes) -> KeptImage | RejectedFile:
        try:
            info = inspect(content, self._limits)
        except ImageError as fault:
            return RejectedFile(path, fault.reason, fault.detail)
        image_id = self._writer.add(content, info.ext)
        return KeptImage(path, self._plan.wanted[path], image_id, info, len(content))

    def _collect(self, bar: Progress) -> None:
        content, future = self._waiting.popleft()
        result = future.result()
        self._held -= len(content)
        if isinstance(result, KeptImage):
            self.kept.append(result)
        else:
            self.rejected.append(result)
            # Here and not in a thread, so that the first few are the same ones in every run.
            if self._thumbnails.has_room(result.reason) and (image := rejected_thumbnail(content)):
                self._thumbnails.add(result.path, result.reason, image)
        bar.update()


def _check_sum(source: Source, kept: int, rejected: int) -> None:
    if kept + rejected != len(source.entries):
        raise HeadstartError(
            f"Of {len(source.entries):,} files, {kept:,} were kept and {rejected:,} rejected, "
            "which does not add up. Nothing was written. Please report this."
        )


def _check_classes(
    source: Source, kept: Iterable[KeptImage], rejected: Iterable[RejectedFile]
) -> None:
    """Stop if there are fewer than two classes."""
    labels = sorted({image.assignment.label for image in kept})
    if len(labels) >= 2:
        return
    counts = Counter(file.reason for file in rejected)
    reasons = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    raise SourceError(
        f"{source.origin} holds usable images of {len(labels)} classes "
        f"({', '.join(labels) or 'none'}); at least 2 are needed. Rejected: "
        f"{reasons or 'nothing'}. Nothing was written. The limits are `formats`, `min_side`, "
        "`max_pixels` and `max_image_bytes` of `download`."
    )


def _check_room(folder: Path, needed: int) -> None:
    """Stop if the disk would fill up, which would end in an error without a cause."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SourceError(
            f"The images need {needed:,} bytes, and {folder} has room for {free:,}. Nothing was "
            "written. Make room and run again."
        )

"""From a source's files to images in shards: decoded once, in threads, within bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from headstart._utils.errors import ImageError
from headstart._utils.progress import progress
from headstart.datasets.shards import ShardWriter
from headstart.images.decode import ImageInfo, Limits, inspect
from headstart.images.thumbnail_folder import Album
from headstart.images.thumbnails import glimpse
from headstart.sources.layout import recognize, unwanted
from headstart.sources.source import Arrangement, Assignment, Entry, Source

_WINDOW_BYTES = 128 << 20  # of images that wait for a thread; one bigger image is let through
_WINDOW_FILES = 256


@dataclass(frozen=True)
class Taken:
    """An image that was kept."""

    path: str
    place: Assignment
    image_id: str
    info: ImageInfo
    bytes: int


@dataclass(frozen=True)
class Aside:
    """A file that was not."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Plan:
    """What becomes of each file before any is read.

    ``len(places) + len(aside)`` is the number of the source's files; ``bytes`` those of the files
    that will be read.
    """

    layout: Arrangement
    places: Mapping[str, Assignment]
    aside: tuple[Aside, ...]
    bytes: int


def plan(
    source: Source,
    root: str | None,
    limits: Limits,
    splits: Mapping[str, str] | None = None,
) -> Plan:
    """Recognize the layout, where the source does not know it, and rejected what needs no reading.

    Parameters
    ----------
    source : Source
    root, splits
        As :func:`headstart.sources.layout.recognize` takes them.
    limits : Limits

    Raises
    ------
    SourceError
        If no two classes are found.
    """
    aside: list[Aside] = []
    open_entries: list[Entry] = []
    for entry in source.entries:
        fault = entry.refusal or unwanted(entry.path)
        if fault:
            aside.append(Aside(entry.path, *fault))
        else:
            open_entries.append(entry)
    layout = source.arrangement or recognize(
        (entry.path for entry in open_entries), root, source.origin, splits
    )
    places: dict[str, Assignment] = {}
    total = 0
    for entry in open_entries:
        place = layout.place(entry.path)
        if not isinstance(place, Assignment):
            aside.append(Aside(entry.path, *place))
        elif entry.size > limits.max_bytes:
            detail = f"{entry.size:,} bytes; at most {limits.max_bytes:,} are accepted"
            aside.append(Aside(entry.path, "too_large", detail))
        else:
            places[entry.path] = place
            total += entry.size
    return Plan(layout, places, tuple(aside), total)


def take_in(
    source: Source, planned: Plan, limits: Limits, writer: ShardWriter, album: Album
) -> tuple[list[Taken], list[Aside]]:
    """Read and decode every planned file; write the images, set the others aside.

    Of what is rejected the album gets a small image, where anything can be seen. The result is
    sorted by path and does not depend on which thread was first.
    """
    taken: list[Taken] = []
    aside = list(planned.aside)
    waiting: deque[tuple[bytes, Future[Taken | Aside]]] = deque()
    held = 0

    def one(path: str, content: bytes) -> Taken | Aside:
        try:
            info = inspect(content, limits)
        except ImageError as fault:
            return Aside(path, fault.reason, fault.detail)
        image_id = writer.add(content, info.ext)
        return Taken(path, planned.places[path], image_id, info, len(content))

    def collect() -> None:
        nonlocal held
        content, future = waiting.popleft()
        result = future.result()
        held -= len(content)
        if isinstance(result, Taken):
            taken.append(result)
        else:
            aside.append(result)
            # Here and not in a thread, so that the first few are the same ones in every run.
            if album.wants(result.reason) and (image := glimpse(content)):
                album.add(result.path, result.reason, image)
        bar.update()

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with progress(len(planned.places), "Checking", "image") as bar:
            for path, content in source.contents(planned.places.keys()):
                if isinstance(content, ImageError):
                    aside.append(Aside(path, content.reason, content.detail))
                    bar.update()
                    continue
                while waiting and (held + len(content) > _WINDOW_BYTES
                                   or len(waiting) >= _WINDOW_FILES):  # fmt: skip
                    collect()
                held += len(content)
                waiting.append((content, pool.submit(one, path, content)))
            while waiting:
                collect()
    finally:
        pool.shutdown(cancel_futures=True)
    taken.sort(key=lambda image: image.path)
    aside.sort(key=lambda file: file.path)
    return taken, aside

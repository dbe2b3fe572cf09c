"""Ingest a source: every file is decoded once, and stored or rejected with a reason.

Decoding runs in threads, within bounded memory. Files = kept + rejected, always. What an earlier
ingest has accepted is not decoded again (:mod:`headstart.sources.known`), and shards whose images
are the same are copied (:mod:`headstart.datasets.earlier_shards`): the result is the same.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headstart._utils.errors import HeadstartError, ImageError, InputChangedError
from headstart._utils.files import sha256_bytes
from headstart._utils.progress import progress
from headstart._utils.tables import counted, listed, plain
from headstart._utils.threads import in_threads
from headstart.datasets.manifests import IMAGES, REJECTED, frame
from headstart.datasets.shards import Location, ShardWriter, earlier_shards
from headstart.images.decode import Limits, inspect
from headstart.images.samples import NO_TRAITS, Traits
from headstart.images.thumbnails import ThumbnailFolder, rejected_thumbnail
from headstart.sources import kinds
from headstart.sources.assigned import Rejected, assign
from headstart.sources.ingested import Ingested, UnusableError
from headstart.sources.known import Checked, KnownImages
from headstart.sources.parameters import DownloadParams, limits_of
from headstart.sources.remarks import remarks
from headstart.sources.source import Assignment, Source
from headstart.sources.stand_ins import check_stand_in
from headstart.stage.recorded_inputs import dvc_cache
from headstart.stage.space import require_space

_File = tuple[str, bytes | ImageError]
_Found = tuple[str, Checked]


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
    InputChangedError
        If a file changed although its size and times did not.
    """
    assigned = assign(source, params)
    print(*assigned.notes, sep="\n", flush=True)
    require_space({images: assigned.bytes})
    folder = ThumbnailFolder(thumbnails)
    kept, rejected = _Kept(assigned.wanted), list(assigned.rejected)
    earlier = earlier_shards(dvc_cache())
    with KnownImages(limits_of(params)) as known, ShardWriter(images, earlier) as writer:
        checking = _Checking(source, assigned.wanted, known, writer, limits_of(params))
        with progress(len(assigned.wanted), "Checking", "image") as bar:
            for path, (image_id, checked) in checking.trusted.items():
                kept.add(path, checking.sizes[path], image_id, checked)
            bar.update(len(checking.trusted))
            with closing(checking.read()) as results:
                for (path, given), result in results:
                    content = b"" if isinstance(given, ImageError) else given
                    bar.update()
                    if not isinstance(result, ImageError):
                        kept.add(path, len(content), *result)
                        continue
                    rejected.append((path, result.reason, result.detail))
                    # Here and not in a thread, so that every run shows the same first few.
                    room = folder.has_room(result.reason)
                    image = rejected_thumbnail(content) if room and content else None
                    if image:
                        folder.add(path, result.reason, image)
        _check(source, kept, rejected)
        checking.supply()
        locations = writer.finish()
    earlier.save()
    folder.close()
    # A million files take a gigabyte until here, which the tables can use.
    del source, assigned, checking, writer
    return Ingested(
        kept.table(locations),
        frame([dict(zip(REJECTED, each, strict=True)) for each in sorted(rejected)], REJECTED),
        (*kinds.differences(kept.kinds()), *remarks(kept.traits)),
    )


class _Kept:
    """The images that are kept, as columns: a million rows as dictionaries take a gigabyte."""

    def __init__(self, wanted: Mapping[str, Assignment]) -> None:
        self._wanted = wanted
        self.paths: list[str] = []
        self.traits: dict[str, Traits] = {}
        self._ids: list[str] = []
        self._formats: list[str] = []
        self._few: list[bool | None] = []
        self._numbers = {name: array("q") for name in ("width", "height", "bytes")}

    def add(self, path: str, size: int, image_id: str, checked: Checked) -> None:
        info = checked.info
        if info.traits != NO_TRAITS:
            self.traits[path] = info.traits
        self.paths.append(path)
        self._ids.append(image_id)
        self._formats.append(sys.intern(info.format))
        self._few.append(checked.few)
        for name, number in (("width", info.width), ("height", info.height), ("bytes", size)):
            self._numbers[name].append(number)

    def labels(self) -> list[str]:
        """Return the class of each image."""
        return [self._wanted[path].label for path in self.paths]

    def kinds(self) -> Iterator[Mapping[str, Any]]:
        """Yield what :func:`headstart.sources.kinds.differences` looks at."""
        for label, name, few in zip(self.labels(), self._formats, self._few, strict=True):
            yield {"label": label, "format": name, "few": few}

    def table(self, locations: Mapping[str, Location]) -> pd.DataFrame:
        """Return the image manifest, sorted by path, from the location of each image."""
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        paths, ids = ([column[row] for row in order] for column in (self.paths, self._ids))
        assignments = [self._wanted[path] for path in paths]
        columns = {
            "image_id": ids,
            "path": paths,
            "label": (each.label for each in assignments),
            "predefined_split": (each.predefined_split for each in assignments),
            "format": (self._formats[row] for row in order),
            "group": (each.group for each in assignments),
            "shard": (locations[image_id].shard for image_id in ids),
            "offset": (locations[image_id].offset for image_id in ids),
            **{
                name: np.frombuffer(numbers, np.int64)[order]
                for name, numbers in self._numbers.items()
            },
        }
        # One by one, because a list of text takes several times the memory of the column.
        return pd.DataFrame(
            {name: pd.Series(columns.pop(name), dtype=IMAGES[name]) for name in IMAGES}
        )


class _Checking:
    """The files of a source on their way into shards.

    Attributes
    ----------
    trusted : mapping of str to (image_id, Checked)
        The files that are known and not read, by path.
    sizes : mapping of str to int
        Bytes of each wanted file, as the source declares them.
    """

    def __init__(
        self, source: Source, wanted: Mapping[str, Assignment], known: KnownImages,
        writer: ShardWriter, limits: Limits,
    ) -> None:  # fmt: skip
        self._source, self._wanted = source, wanted
        self._known, self._writer, self._limits = known, writer, limits
        self._probes = _probes(wanted)
        entries = [entry for entry in source.entries if entry.path in wanted]
        self._files = {entry.path: entry.file for entry in entries if entry.file is not None}
        self.sizes = {entry.path: entry.size for entry in entries}
        self.trusted = known.unread(self._files, self._probes)
        for path, (image_id, checked) in self.trusted.items():
            self.trusted[path] = image_id, self._probed(path, checked)
            writer.expect(image_id, checked.info.ext, self.sizes[path])
        if self.trusted:
            print(
                f"{len(self.trusted):,} of {counted(len(wanted), 'file')} have the "
                f"{self._files[next(iter(self.trusted))].by} with which they were checked before, "
                "and are not read again (`headstart run --verify` reads all).",
                flush=True,
            )

    def read(self) -> Generator[tuple[_File, _Found | ImageError], None, None]:
        """Yield every other file with its ``image_id`` and more, or the reason against it."""
        files = self._source.contents(self._wanted.keys() - self.trusted.keys())
        with closing(in_threads(self._decode, files, size=_size)) as results:
            for file, result in results:
                if not isinstance(result, ImageError):
                    image_id, checked, new = result
                    path = file[0]
                    if new:
                        self._known.add(image_id, checked)
                    if recorded := self._files.get(path):
                        self._known.add_recorded(recorded, image_id)
                    yield file, (image_id, self._probed(path, checked))
                else:
                    yield file, result

    def supply(self) -> None:
        """Read the files that were not read, and whose shards are to be written."""
        lacking = self._writer.lacking()
        paths = {each[0]: path for path, each in self.trusted.items() if each[0] in lacking}
        if not paths:
            return
        with progress(len(paths), "Reading", "image") as bar:
            for path, content in self._source.contents(set(paths.values())):
                image_id, checked = self.trusted[path]
                if isinstance(content, ImageError) or sha256_bytes(content) != image_id:
                    self._known.forget([self._files[path]])
                    raise InputChangedError(
                        f"The file {plain(path)} of {self._source.origin} is not the one that was "
                        f"checked before, although its {self._files[path].by} are the same; or it "
                        "changed just now. Nothing was written. Run again: it is read as a new "
                        "file. (`headstart run --verify` reads every file.)"
                    )
                self._writer.add(content, checked.info.ext, image_id)
                bar.update()

    def _decode(self, file: _File) -> tuple[str, Checked, bool] | ImageError:
        """Store a file, and return its ``image_id``, what is known of it, and if that is new."""
        path, content = file
        if isinstance(content, ImageError):
            return content
        image_id = sha256_bytes(content)
        checked = self._known.find(image_id, counted=path in self._probes)
        new = checked is None
        if checked is None:
            try:
                check_stand_in(content)
                info = inspect(content, self._limits)
            except ImageError as fault:
                return fault
            few = kinds.has_few_colors(content, info) if path in self._probes else None
            checked = Checked(info, few)
        self._writer.add(content, checked.info.ext, image_id)
        return image_id, checked, new

    def _probed(self, path: str, checked: Checked) -> Checked:
        """Return what is known of a file; its colors count only if it is among the probes."""
        return checked if path in self._probes else Checked(checked.info, None)


def _size(file: _File) -> int:
    return len(file[1]) if isinstance(file[1], bytes) else 0


def _probes(wanted: Mapping[str, Assignment]) -> set[str]:
    """Return the first paths of each class, so that every run probes the same."""
    of_class: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(wanted):
        of_class[wanted[path].label].append(path)
    return {path for paths in of_class.values() for path in paths[: kinds.PROBES]}


def _check(source: Source, kept: _Kept, rejected: Sequence[Rejected]) -> None:
    """Stop if a file is missing, or if there are fewer than two classes."""
    count = len(kept.paths)
    if count + len(rejected) != len(source.entries):
        raise HeadstartError(
            f"Of {len(source.entries):,} files, {count:,} were kept and {len(rejected):,} "
            "rejected, which does not add up. Nothing was written. Please report this."
        )
    labels = sorted(set(kept.labels()))
    if len(labels) < 2:
        raise UnusableError(
            f"{source.origin} holds usable images of {counted(len(labels), 'class', 'classes')}"
            f"{''.join(f' ({plain(label)})' for label in labels)}; at least 2 are needed."
            f"{_inner_root(kept.paths)}{_limits(rejected)}",
            rejected,
        )


def _inner_root(paths: Sequence[str]) -> str:
    """Return the folder that may hold the classes, in a sentence, if all images are below it."""
    folders = [path.split("/")[:-1] for path in paths]
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

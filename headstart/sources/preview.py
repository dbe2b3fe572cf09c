"""Preview a source: the image manifest that ``download`` would write, without running it.

The source is listed and its files are hashed. Hashes are kept in the cache folder, and hold while
a file's size, times and inode are those with which it was hashed. New files are decoded up to a
bound, because only the decoder finds a damaged one; beyond it, only their first bytes are checked.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from headstart._utils.disk import amount
from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.files import sha256_bytes
from headstart._utils.memo import Memo
from headstart._utils.stamps import stamp
from headstart._utils.threads import in_threads
from headstart.datasets.manifests import IMAGES, frame
from headstart.images.decode import Limits, inspect, sniff
from headstart.images.version import decoder
from headstart.sources import stand_ins
from headstart.sources.assigned import Assigned, assign
from headstart.sources.parameters import DownloadParams, fetch_of, limits_of, open_source
from headstart.sources.source import Source
from headstart.sources.stand_ins import check_stand_in

#: Bytes that are read to be hashed, and files and bytes that are decoded, for one preview.
MOST_READ = 2_000_000_000
MOST_DECODED = 500
_MOST_DECODED_BYTES = 100_000_000
#: Modules that also decide a verdict.
_CODE = [Path(__file__), Path(stand_ins.__file__)]
_USABLE, _SNIFFED, _REJECTED = "usable", "sniffed", "rejected"
#: Sources whose files, or whose one file, lie at the location and have a record of the file system.
_STAMPED = {"folder", "archive", "table"}


class UnseenError(HeadstartError):
    """The images are not known before ``download`` has run.

    Parameters
    ----------
    why : str
        Completes "unknown".
    most : int, optional
        Bound of their number.
    """

    def __init__(self, why: str, most: int | None = None) -> None:
        super().__init__(why)
        self.most = most


@dataclass(frozen=True)
class Preview:
    """The images that ``download`` would keep.

    Attributes
    ----------
    images : DataFrame
        Rows of an image manifest; sizes and shards of new images are 0.
    exact : bool
        Every new file was decoded, so that no image can turn out to be unusable.
    bytes : int
        Of the files that are read.
    """

    images: pd.DataFrame
    exact: bool
    bytes: int


def preview(params: DownloadParams, location: Path, known: pd.DataFrame | None = None) -> Preview:
    """Return the images that a source has now.

    Parameters
    ----------
    params : DownloadParams
    location : Path
        The folder or file of the source.
    known : DataFrame, optional
        The image manifest of an earlier run, whose images need not be decoded again.

    Raises
    ------
    UnseenError
        If the source has not been fetched yet, or is too large to be hashed for a preview.
    SourceError
        If it cannot be used.
    """
    fetch = fetch_of(params, location)
    if fetch is not None and not fetch.present:
        raise UnseenError(f"until {fetch.what} has been fetched", fetch.most_images)
    # The SHA-256 is compared by `download`, and reading an archive twice takes long.
    changed: dict[str, Any] = {"sha256": None}
    if fetch is not None and fetch.file is not None:
        location, changed = fetch.file, {"sha256": None, "source": "archive", "url": None}
    params = params.model_copy(update=changed)
    with contextlib.redirect_stdout(io.StringIO()):
        source = open_source(params, location)
        assigned = assign(source, params)
    seen = _See(params, location, source, assigned, known)
    return seen.preview()


class _Read(NamedTuple):
    path: str
    content: bytes | ImageError
    image_id: str
    decode: bool


class _See:
    """Hashes and verdicts of the files of one source."""

    def __init__(
        self, params: DownloadParams, location: Path, source: Source, assigned: Assigned,
        known: pd.DataFrame | None,
    ) -> None:  # fmt: skip
        self._source, self._assigned = source, assigned
        self._location = location
        self._limits = limits_of(params)
        self._stamped = params.source in _STAMPED
        self._usable = _still_usable(known, self._limits)
        self._sizes = {entry.path: entry.size for entry in source.entries}
        self._files = {entry.path: entry.file for entry in source.entries}

    def preview(self) -> Preview:
        """Return the rows of the files that are or may be usable."""
        stamps = {path: self._stamp(path) for path in self._assigned.wanted}
        known = _Known(self._location, self._limits)
        found = known.find(stamps)
        unread = self._assigned.wanted.keys() - found.keys()
        size = sum(self._sizes[path] for path in unread)
        if size > MOST_READ:
            raise UnseenError(
                f"{amount(size)} of new files are not hashed for an estimate",
                len(self._assigned.wanted),
            )
        read = dict(self._read(unread))
        known.add(stamps, read)
        found.update(read)
        rows = [
            {
                **dict.fromkeys(IMAGES, 0), "path": path, "image_id": image_id, "format": "",
                "bytes": self._sizes[path], **asdict(self._assigned.wanted[path]),
            }
            for path, (image_id, verdict) in sorted(found.items())
            if verdict != _REJECTED or image_id in self._usable
        ]  # fmt: skip
        doubtful = any(
            verdict == _SNIFFED and image_id not in self._usable
            for image_id, verdict in found.values()
        )
        return Preview(frame(rows, IMAGES), not doubtful, self._assigned.bytes)

    def _read(self, paths: set[str]) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the SHA-256 and the verdict of each file that must be read."""

        def judge(file: _Read) -> str:
            if isinstance(file.content, ImageError):
                return _REJECTED
            if file.image_id in self._usable:
                return _USABLE
            try:
                check_stand_in(file.content)
                (inspect if file.decode else sniff)(file.content, self._limits)
            except ImageError:
                return _REJECTED
            return _USABLE if file.decode else _SNIFFED

        def size(file: _Read) -> int:
            return len(file.content) if isinstance(file.content, bytes) else 0

        with closing(in_threads(judge, self._hashed(paths), size=size)) as results:
            for file, verdict in results:
                yield file.path, (file.image_id, verdict)

    def _hashed(self, paths: set[str]) -> Iterator[_Read]:
        """Yield each file with its SHA-256, and whether there is time to decode it."""
        left, left_bytes = MOST_DECODED, _MOST_DECODED_BYTES
        for path, content in self._source.contents(paths):
            if isinstance(content, ImageError):
                yield _Read(path, content, "", False)
                continue
            image_id, decode = sha256_bytes(content), False
            if image_id not in self._usable:
                left, left_bytes = left - 1, left_bytes - len(content)
                decode = left >= 0 and left_bytes >= 0
            yield _Read(path, content, image_id, decode)

    def _stamp(self, path: str) -> list[int] | None:
        """Return the file system's record of a file; None if it may not show a change."""
        if (recorded := self._files.get(path)) is not None:
            return list(recorded.stamp) if recorded.stamp.settled(time.time_ns()) else None
        if not self._stamped:
            return None
        file = self._location if self._location.is_file() else self._location / path
        try:
            found = stamp(file.stat())._replace(size=self._sizes[path])
        except OSError:
            return None
        return list(found) if found.settled(time.time_ns()) else None


class _Known:
    """Hashes and verdicts of earlier previews of the same place under the same limits."""

    def __init__(self, location: Path, limits: Limits) -> None:
        self._place = os.fsencode(location.absolute())
        self._record = {"limits": asdict(limits), "decoder": decoder(_CODE)}

    def find(self, stamps: Mapping[str, list[int] | None]) -> dict[str, tuple[str, str]]:
        """Return SHA-256 and verdict of the files that have not changed."""
        paths = {self._key(path): path for path, stamp in stamps.items() if stamp is not None}
        with Memo("previews", self._record) as memo:
            values = memo.get_many(paths)
        found = {}
        for key, value in values.items():
            stamp, image_id, verdict = json.loads(value)  # its checksum is right, so we wrote it
            if stamp == stamps[paths[key]]:
                found[paths[key]] = image_id, verdict
        return found

    def add(
        self, stamps: Mapping[str, list[int] | None], verdicts: Mapping[str, tuple[str, str]]
    ) -> None:
        """Note the verdicts of files whose stamp would show a change."""
        entries = (
            (self._key(path), json.dumps([stamps[path], *verdict]).encode())
            for path, verdict in verdicts.items()
            if stamps[path] is not None
        )
        with Memo("previews", self._record) as memo:
            memo.put_many(entries)

    def _key(self, path: str) -> bytes:
        return self._place + b"\0" + path.encode("utf-8", "surrogatepass")


def _still_usable(known: pd.DataFrame | None, limits: Limits) -> frozenset[str]:
    """Return the ids of earlier images that the limits still accept."""
    if known is None:
        return frozenset()
    sides = known[["width", "height"]]
    usable = (
        known["format"].isin(limits.formats)
        & (sides.min(axis=1) >= limits.min_side)
        & (sides.prod(axis=1) <= limits.max_pixels)
        & (known["bytes"] <= limits.max_bytes)
    )
    return frozenset(known.loc[usable, "image_id"])

"""Forward passes of images through a backbone, by worker threads that read, decode and infer.

The calling thread commits the results to the store, several times a second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart._utils.machine import cores
from headstart._utils.progress import Progress
from headstart._utils.tables import counted
from headstart.backbones.litert import LiteRTFunction, interpreters
from headstart.features.store import FeatureStore, Floats, row_bytes, split_key, view_key
from headstart.features.views import RecordedViews

Pixels = npt.NDArray[np.uint8]
Function = Callable[[Pixels], Floats]
Result = tuple[str, Floats]


class Decode(Protocol):
    """From a file's bytes to pixels: :func:`headstart.images.resize.pixels`, and its like."""

    def __call__(self, content: bytes, size: int, /, *, gray16_bits: int | None) -> Pixels:
        """Decode and resize an image."""


#: Views of an image that are made from one decoding: more would cost memory, and be lost by a kill.
_VIEWS_AT_ONCE = 16
#: Results wait for their commit this many seconds, in this number and this many bytes, at most.
#: A commit costs a tenth of a millisecond, which is as much as a pass of a small backbone.
COMMIT_S = 0.2
COMMIT_ROWS = 256
_COMMIT_BYTES = 32 << 20


class Reader(Protocol):
    """A source of images' bytes: :class:`headstart.datasets.shards.ShardReader`."""

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        """Return the bytes of one image; called from several threads."""


class Place(NamedTuple):
    """Where an image lies in the shards: number of the shard, first byte, length in bytes."""

    shard: int
    offset: int
    length: int


class Image(NamedTuple):
    """An image to extract the features of.

    Attributes
    ----------
    image_id : str
        Hex sha256 of the image's bytes.
    name : str
        Its path or another name, for messages.
    read : callable
        Returns its bytes; called from several threads.
    place : Place or None
        For workers that can read the shards themselves.
    """

    image_id: str
    name: str
    read: Callable[[], bytes]
    place: Place | None = None


class ShardImages:
    """The images of a manifest, in the order in which they lie on the disk.

    Parameters
    ----------
    rows : DataFrame
        Columns image_id, shard, offset, bytes; and path, if messages are to name it.
    reader : Reader
    """

    def __init__(self, rows: pd.DataFrame, reader: Reader) -> None:
        self._rows = rows.sort_values(["shard", "offset"], kind="stable")
        self._reader = reader

    def __iter__(self) -> Iterator[Image]:
        rows = self._rows
        names = rows["path"] if "path" in rows else rows["image_id"]
        columns = (rows[column].tolist() for column in ("image_id", "shard", "offset", "bytes"))
        for name, image_id, *numbers in zip(names.tolist(), *columns, strict=True):
            place = Place(*numbers)
            yield Image(image_id, name, partial(self._reader.read, *place, image_id), place)


@dataclass(frozen=True)
class Engine:
    """A backbone, ready to be run.

    Attributes
    ----------
    make : callable
        Makes a function from pixels of shape (n, size, size, 3), uint8, n ≤ ``batch``, to features
        of shape (n, ...). Not called if nothing is missing.
    size : int
        Side of the decoded images in pixels.
    gray16_bits : int or None
        Bits of white in 16-bit gray images.
    batch : int
        Images per call.
    count : int or None
        Functions that are made and shared by the workers; None: one for each worker.
    device : str
        ``cpu``, or the kind of GPU.
    decoders : int
        Processes that decode images, for a device that would wait for threads; 0: the threads do.
    network : Path or None
        The file of a converted network, which any process can run.
    """

    make: Callable[[], Function]
    size: int
    gray16_bits: int | None
    batch: int = 1
    count: int | None = None
    device: str = "cpu"
    decoders: int = 0
    network: Path | None = None


def litert_engine(network: Path, size: int, gray16_bits: int | None) -> Engine:
    """Return the engine of a converted network: as many interpreters as the memory allows."""
    count, threads = interpreters(network.stat().st_size, cores())
    make = partial(LiteRTFunction, network, threads)
    return Engine(make, size, gray16_bits, count=count, network=network)


@dataclass
class Computed:
    """What workers outside of this process have computed; only what was accepted is recorded.

    Attributes
    ----------
    workers : int
        That gave an accepted feature.
    passes : int
        In the answers of workers and in the second computations of their samples, accepted or not.
    unanswered : int
        Passes that were handed to workers which ended or fell silent, and may have been computed.
    withdrawn : int
        Accepted passes that were taken back, because their worker proved wrong later.
    """

    workers: int = 0
    passes: int = 0
    unanswered: int = 0
    withdrawn: int = 0

    def __str__(self) -> str:
        lost = f", and up to {self.unanswered:,} without an answer" if self.unanswered else ""
        taken = f"; {self.withdrawn:,} were taken back and computed again" if self.withdrawn else ""
        return f"Computed by {counted(self.workers, 'worker')}: {self.passes:,} passes{lost}{taken}"


class Cluster(Protocol):
    """Workers outside of this process: :class:`headstart.cluster.passes.ClusterPasses`."""

    def run(
        self, forward: ForwardPasses, images: Iterable[Image], missing: Sequence[str],
        store: FeatureStore, bar: Progress, computed: Computed,
    ) -> None:  # fmt: skip
        """Compute the missing features of ``images`` and commit them, as ``ForwardPasses.run``."""


@dataclass(frozen=True)
class ForwardPasses:
    """The work of a worker thread: from some images, and views of them, to features.

    Attributes
    ----------
    engine : Engine
    functions : SimpleQueue of callable
        The engine's functions that are not in use.
    shape : tuple of int
        Shape of one image's features.
    decode : callable
        From a file's bytes, the engine's size and its bits of gray to pixels.
    views : RecordedViews or None
        Makes the views of an image.
    """

    engine: Engine
    functions: SimpleQueue[Function]
    shape: tuple[int, ...]
    decode: Decode
    views: RecordedViews | None

    def __call__(self, wanted: Sequence[tuple[Image, int]]) -> list[Result]:
        """Return key and features of each image and view number."""
        images, batch = [image for image, _ in wanted], self.engine.batch
        inputs = [
            pixels
            for _, same in groupby(wanted, key=lambda each: each[0].image_id)
            for pixels in self._pixels(list(same))
        ]
        function = self.functions.get()
        try:
            features = np.concatenate(
                [
                    function(np.stack(inputs[start : start + batch]))
                    for start in range(0, len(inputs), batch)
                ]
            )
        except Exception as error:
            raise _failed(images, "the backbone could not be run on it", error) from error
        finally:
            self.functions.put(function)
        if features.shape != (len(images), *self.shape):
            raise HeadstartError(
                f"The backbone gave features of shape {features.shape[1:]}; its record says "
                f"{self.shape}. Run the stage `backbone` again."
            )
        finite = np.isfinite(features.reshape(len(images), -1)).all(axis=1)
        if not finite.all():
            bad = images[int(np.argmin(finite))]
            raise _failed([bad], "the backbone returned a value that is not a finite number")
        keys = [view_key(image.image_id, view) for image, view in wanted]
        return list(zip(keys, features, strict=True))

    def _pixels(self, same: Sequence[tuple[Image, int]]) -> list[Pixels]:
        """Return the wanted views of one image, which is decoded once."""
        image = same[0][0]
        try:
            plain = self.decode(image.read(), self.engine.size, gray16_bits=self.engine.gray16_bits)
            if self.views is None:
                return [plain]
            return [self.views.pixels(plain, image.image_id, view) for _, view in same]
        except Exception as error:
            raise _failed([image], "it could not be read", error) from error

    def results(self, wanted: Iterable[tuple[Image, int]]) -> list[Result]:
        """Return key and features of any number of images and views, computed in this thread."""
        chunks = _chunks(wanted, self.engine.batch)
        return [result for chunk in chunks for result in self(chunk)]

    def run(
        self, images: Iterable[Image], missing: Iterable[str], store: FeatureStore, bar: Progress,
        workers: int,
    ) -> None:  # fmt: skip
        """Compute the missing features of ``images`` in worker threads; commit in small batches."""
        done = Commits(store, bar)
        chunks = _chunks(wanted_views(images, missing), self.engine.batch)
        pending: set[Future[list[Result]]] = set()
        with ThreadPoolExecutor(workers, thread_name_prefix="extract") as executor:
            try:
                # Two tasks per worker are enough to keep it busy, and bound what is in memory.
                pending.update(executor.submit(self, c) for c in islice(chunks, 2 * workers))
                while pending:
                    finished, pending = wait(
                        pending, timeout=done.seconds_left(), return_when=FIRST_COMPLETED
                    )
                    pending.update(executor.submit(self, c) for c in islice(chunks, len(finished)))
                    while finished:
                        done.add(finished.pop().result())
                    done.commit_if_due()
                done.commit()
            except BaseException:
                # Interrupted, or an image failed: what the workers have begun is finished and kept.
                executor.shutdown(cancel_futures=True)
                for future in finished | pending:
                    with contextlib.suppress(Exception):
                        if not future.cancelled():
                            done.add(future.result())
                with contextlib.suppress(Exception):
                    done.commit()
                raise


class Commits:
    """Results on their way to the store: a kill loses those of the last moment at most."""

    def __init__(self, store: FeatureStore, bar: Progress) -> None:
        self._store, self._bar = store, bar
        self._waiting: list[Result] = []
        self._last = time.perf_counter()
        self._most = max(1, min(COMMIT_ROWS, _COMMIT_BYTES // row_bytes(store.shape)))

    def add(self, results: Sequence[Result]) -> None:
        """Add results; commit if there are many."""
        self._waiting.extend(results)
        if len(self._waiting) >= self._most:
            self.commit()

    def seconds_left(self) -> float | None:
        """Return how many seconds the results may wait; None if there are none."""
        if not self._waiting:
            return None
        return max(0.0, self._last + COMMIT_S - time.perf_counter())

    def commit_if_due(self) -> None:
        """Commit the results that have waited long enough."""
        if self.seconds_left() == 0.0:
            self.commit()

    def commit(self) -> None:
        """Commit the waiting results, in one transaction with their count and seconds."""
        if not self._waiting:
            return
        # Taken out first: an interrupt in here costs these results, and counts none of them twice.
        results, self._waiting = self._waiting, []
        now = time.perf_counter()
        self._store.put_many(results, seconds=now - self._last)
        self._last = now
        self._bar.update(len(results))


def wanted_views(images: Iterable[Image], missing: Iterable[str]) -> Iterator[tuple[Image, int]]:
    """Yield each distinct image with each view that is missing, in the order of the images."""
    lacking: dict[str, list[int]] = {}
    for key in missing:
        image_id, view = split_key(key)
        lacking.setdefault(image_id, []).append(view)
    for image in images:
        for view in lacking.pop(image.image_id, ()):
            yield image, view


def _chunks(wanted: Iterable[tuple[Image, int]], batch: int) -> Iterator[list[tuple[Image, int]]]:
    """Yield the work of one task: a batch or, if the backbone takes one, an image's views."""
    groups: Iterable[Iterator[tuple[Image, int]]] = [iter(wanted)]
    if batch == 1:
        groups = (same for _, same in groupby(wanted, key=lambda each: each[0].image_id))
    for group in groups:
        while chunk := list(islice(group, _VIEWS_AT_ONCE if batch == 1 else batch)):
            yield chunk


def _failed(images: Sequence[Image], what: str, error: Exception | None = None) -> HeadstartError:
    first = images[0]
    others = f" (or one of {len(images) - 1} others)" if len(images) > 1 else ""
    why = "" if error is None else f": {error or type(error).__name__}"
    return HeadstartError(
        f"The image {first.name!r} ({first.image_id[:12]}…){others} has no features: {what}"
        f"{why}. The features that were finished before are kept. The image could be read when "
        "it was ingested, so the shards or the manifest changed since, or a file is damaged: run "
        "`dvc repro --force download`, then this stage again."
    )

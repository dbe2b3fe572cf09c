"""Images on their way through a backbone: read, decoded and passed by worker threads.

What a worker finishes is committed by the thread that called, as soon as it is there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby, islice
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart._utils.progress import Progress
from headstart.features.store import FeatureStore, Floats, split_key, view_key

Pixels = npt.NDArray[np.uint8]
Function = Callable[[Pixels], Floats]
Result = tuple[str, Floats]

#: Views of an image that are made from one decoding: more would be much to hold, and to lose.
_VIEWS_AT_ONCE = 16


class Reader(Protocol):
    """What images are read from: :class:`headstart.datasets.shards.ShardReader`."""

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        """Bytes of one image; called from several threads."""


class ViewsOf(Protocol):
    """Views that are recorded of an image: :class:`headstart.features.views.RecordedViews`."""

    @property
    def count(self) -> int:
        """Views of each image."""

    def keys(self, image_id: str) -> list[str]:
        """Under which keys the store holds the different views of an image."""

    def pixels(self, image: Pixels, image_id: str, view: int) -> Pixels:
        """A view of a decoded image; called from several threads."""


class Image(NamedTuple):
    """A row of the manifest, as far as extraction needs it, and which view of it is meant."""

    image_id: str
    path: str
    shard: int
    offset: int
    length: int
    view: int = 0


class Work:
    """What a worker thread does with some images; parameters as of ``extract``."""

    def __init__(
        self,
        reader: Reader,
        pool: SimpleQueue[Function],
        size: int,
        shape: tuple[int, ...],
        decode: Callable[[bytes, int], Pixels],
        views: ViewsOf | None,
        batch: int,
    ) -> None:
        self.reader, self.pool, self.size, self.shape = reader, pool, size, shape
        self.decode, self.views, self.batch = decode, views, batch

    def __call__(self, images: Sequence[Image]) -> list[Result]:
        """Key and features of each of them."""
        inputs = [
            view
            for _, same in groupby(images, key=lambda image: image.image_id)
            for view in self._pixels(list(same))
        ]
        function = self.pool.get()
        try:
            features = np.concatenate(
                [
                    function(np.stack(inputs[start : start + self.batch]))
                    for start in range(0, len(inputs), self.batch)
                ]
            )
        except Exception as error:
            raise _failed(images, "the backbone could not be run on it", error) from error
        finally:
            self.pool.put(function)
        if features.shape != (len(images), *self.shape):
            raise HeadstartError(
                f"The backbone gave features of shape {features.shape[1:]}; its record says "
                f"{self.shape}. Run the stage `backbone` again."
            )
        finite = np.isfinite(features.reshape(len(images), -1)).all(axis=1)
        if not finite.all():
            bad = images[int(np.argmin(finite))]
            raise _failed([bad], "the backbone gave a value that is no finite number")
        return [(view_key(p.image_id, p.view), f) for p, f in zip(images, features, strict=True)]

    def _pixels(self, same: Sequence[Image]) -> list[Pixels]:
        """What is asked for of one image, which is decoded once."""
        image_id, _, shard, offset, length, _ = same[0]
        try:
            plain = self.decode(self.reader.read(shard, offset, length, image_id), self.size)
            if self.views is None:
                return [plain]
            return [self.views.pixels(plain, image_id, image.view) for image in same]
        except Exception as error:
            raise _failed(same[:1], "it could not be read", error) from error


def _failed(images: Sequence[Image], what: str, error: Exception | None = None) -> HeadstartError:
    first = images[0]
    others = f" (or one of {len(images) - 1} others)" if len(images) > 1 else ""
    why = "" if error is None else f": {error or type(error).__name__}"
    return HeadstartError(
        f"The image {first.path!r} ({first.image_id[:12]}…){others} has no features: {what}"
        f"{why}. What was finished before is recorded. `download` had read this image, so the "
        "shards or the manifest changed since, or the file is damaged: run "
        "`dvc repro --force download`, then this stage again."
    )


def images_of(rows: pd.DataFrame, missing: Iterable[str]) -> Iterator[Image]:
    """What is missing of distinct images, the views of each one after another."""
    lacking: dict[str, list[int]] = {}
    for key in missing:
        image_id, view = split_key(key)
        lacking.setdefault(image_id, []).append(view)
    # In the order in which they lie on the disk; the order of recording does not matter.
    ordered = rows[rows["image_id"].isin(lacking)].sort_values(["shard", "offset"], kind="stable")
    paths = ordered["path"] if "path" in ordered else ordered["image_id"]
    columns = (ordered[name] for name in ("shard", "offset", "bytes"))
    for image_id, path, shard, offset, length in zip(
        ordered["image_id"], paths, *columns, strict=True
    ):
        for view in lacking[image_id]:
            yield Image(str(image_id), str(path), int(shard), int(offset), int(length), view)


def _chunks(images: Iterable[Image], batch: int) -> Iterator[list[Image]]:
    """What one task works on: a batch, or if the backbone takes one at a time, an image's views."""
    if batch == 1:
        for _, same in groupby(images, key=lambda image: image.image_id):
            while chunk := list(islice(same, _VIEWS_AT_ONCE)):
                yield chunk
        return
    iterator = iter(images)
    while chunk := list(islice(iterator, batch)):
        yield chunk


def run(
    work: Work,
    images: Iterable[Image],
    store: FeatureStore,
    bar: Progress,
    *,
    batch: int,
    workers: int,
) -> None:
    """Let ``workers`` threads do the work, and commit each result as soon as it is there."""
    last = time.perf_counter()

    def commit(future: Future[list[Result]]) -> None:
        nonlocal last
        results = future.result()
        now = time.perf_counter()
        store.put_many(results, seconds=now - last)
        last = now
        bar.update(len(results))

    chunks = _chunks(images, batch)
    pending: set[Future[list[Result]]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="extract") as executor:
        try:
            # Two tasks a worker are enough to keep it busy, and bound what is in memory.
            pending.update(executor.submit(work, chunk) for chunk in islice(chunks, 2 * workers))
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending.update(executor.submit(work, c) for c in islice(chunks, len(finished)))
                while finished:
                    commit(finished.pop())
        except BaseException:
            # Interrupted, or an image failed: what the workers have begun is finished and kept.
            executor.shutdown(cancel_futures=True)
            for future in finished | pending:
                with contextlib.suppress(Exception):
                    if not future.cancelled():
                        commit(future)
            raise

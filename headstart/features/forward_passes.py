"""Pictures on their way through a base: read, decoded and passed by worker threads.

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

#: Views of a picture that are made from one decoding: more would be much to hold, and to lose.
_VIEWS_AT_ONCE = 16


class Reader(Protocol):
    """What pictures are read from: :class:`headstart.datasets.shards.ShardReader`."""

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        """Bytes of one picture; called from several threads."""


class ViewsOf(Protocol):
    """Views that are recorded of a picture: :class:`headstart.features.views.RecordedViews`."""

    @property
    def count(self) -> int:
        """Views of each picture."""

    def keys(self, image_id: str) -> list[str]:
        """Under which keys the store holds the different views of a picture."""

    def pixels(self, picture: Pixels, image_id: str, view: int) -> Pixels:
        """A view of a decoded picture; called from several threads."""


class Picture(NamedTuple):
    """A row of the manifest, as far as extraction needs it, and which view of it is meant."""

    image_id: str
    path: str
    shard: int
    offset: int
    length: int
    view: int = 0


class Work:
    """What a worker thread does with some pictures; parameters as of ``extract``."""

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

    def __call__(self, pictures: Sequence[Picture]) -> list[Result]:
        """Key and features of each of them."""
        inputs = [
            view
            for _, same in groupby(pictures, key=lambda picture: picture.image_id)
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
            raise _failed(pictures, "the base could not be run on it", error) from error
        finally:
            self.pool.put(function)
        if features.shape != (len(pictures), *self.shape):
            raise HeadstartError(
                f"The base gave features of shape {features.shape[1:]}; its record says "
                f"{self.shape}. Run the stage `backbone` again."
            )
        finite = np.isfinite(features.reshape(len(pictures), -1)).all(axis=1)
        if not finite.all():
            bad = pictures[int(np.argmin(finite))]
            raise _failed([bad], "the base gave a value that is no finite number")
        return [(view_key(p.image_id, p.view), f) for p, f in zip(pictures, features, strict=True)]

    def _pixels(self, same: Sequence[Picture]) -> list[Pixels]:
        """What is asked for of one picture, which is decoded once."""
        image_id, _, shard, offset, length, _ = same[0]
        try:
            plain = self.decode(self.reader.read(shard, offset, length, image_id), self.size)
            if self.views is None:
                return [plain]
            return [self.views.pixels(plain, image_id, picture.view) for picture in same]
        except Exception as error:
            raise _failed(same[:1], "it could not be read", error) from error


def _failed(
    pictures: Sequence[Picture], what: str, error: Exception | None = None
) -> HeadstartError:
    first = pictures[0]
    others = f" (or one of {len(pictures) - 1} others)" if len(pictures) > 1 else ""
    why = "" if error is None else f": {error or type(error).__name__}"
    return HeadstartError(
        f"The picture {first.path!r} ({first.image_id[:12]}…){others} has no features: {what}"
        f"{why}. What was finished before is recorded. `download` had read this picture, so the "
        "shards or the manifest changed since, or the file is damaged: run "
        "`dvc repro --force download`, then this stage again."
    )


def pictures_of(rows: pd.DataFrame, missing: Iterable[str]) -> Iterator[Picture]:
    """What is missing of distinct pictures, the views of each one after another."""
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
            yield Picture(str(image_id), str(path), int(shard), int(offset), int(length), view)


def _chunks(pictures: Iterable[Picture], batch: int) -> Iterator[list[Picture]]:
    """What one task works on: a batch, or if the base takes one at a time, a picture's views."""
    if batch == 1:
        for _, same in groupby(pictures, key=lambda picture: picture.image_id):
            while chunk := list(islice(same, _VIEWS_AT_ONCE)):
                yield chunk
        return
    iterator = iter(pictures)
    while chunk := list(islice(iterator, batch)):
        yield chunk


def run(
    work: Work,
    pictures: Iterable[Picture],
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

    chunks = _chunks(pictures, batch)
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
            # Interrupted, or a picture failed: what the workers have begun is finished and kept.
            executor.shutdown(cancel_futures=True)
            for future in finished | pending:
                with contextlib.suppress(Exception):
                    if not future.cancelled():
                        commit(future)
            raise

"""One image, one pass: whatever the store lacks goes through the frozen backbone, nothing else
does.

Worker threads read, decode and infer; the thread that called commits each result to the store as
soon as it is there, so that a run that is killed at any moment loses only what was in flight. What
is written afterwards comes from the store alone, in the order asked for, so it is the same bytes
whether the features were computed now, last month, or in ten attempts.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pandas as pd

from headstart._utils.disk import require_room
from headstart._utils.machine import architecture, cores, keras_batch
from headstart._utils.progress import progress
from headstart.backbones.record import BackboneRecord
from headstart.features.forward_passes import (
    Function,
    Pixels,
    Reader,
    ViewsOf,
    Work,
    images_of,
    run,
)
from headstart.features.npy import write_npy
from headstart.features.store import FeatureStore
from headstart.images.resize import SPEC, pixels

#: Memory that interpreters may take together: an eighth of the machine's, at least this.
_LEAST_BUDGET = 1 << 30
#: What an interpreter takes besides twice the size of its file (the weights as they are, and once
#: more in the order in which its kernels read them): its activations.
_ACTIVATIONS = 32 << 20
_ATTEMPTS = 3
_PAGE = 4096
_ROOM = (
    "Free some room, or name a folder on another disk for what is recorded in the environment "
    "variable HEADSTART_CACHE. What is recorded already is kept."
)
_PACKAGES = {"litert": ("ai-edge-litert",), "keras": ("tensorflow", "keras")}


@dataclass(frozen=True)
class Passes:
    """What an extraction did.

    Attributes
    ----------
    images : int
        Rows asked for; identical images count each.
    done, cached : int
        Distinct images that were passed through the backbone now, and that the store had.
    seconds : float
        Wall-clock time of the extraction.
    what : str
        What is counted: images, or views of images.
    """

    images: int
    done: int
    cached: int
    seconds: float
    what: str = "images"

    def __str__(self) -> str:
        rate = f", {self.done / self.seconds:,.0f} a second" if self.done and self.seconds else ""
        twice = self.images - self.done - self.cached
        same = f" ({twice:,} identical to others)" if twice else ""
        return (
            f"{self.images:,} {self.what}{same}: {self.done:,} passed through the backbone, "
            f"{self.cached:,} found in the store ({self.seconds:.1f} s{rate})"
        )


def fingerprint_record(
    backbone: BackboneRecord, engine: str, device: str = "cpu"
) -> dict[str, Any]:
    """Everything that decides the bits of a feature besides the image; JSON values.

    The number format is not part of it: the store holds float32, whatever is written from it.

    Parameters
    ----------
    backbone : BackboneRecord
    engine : str
        ``litert`` or ``keras``.
    device : str
        ``cpu``, or the kind of GPU that the Keras engine runs on.
    """
    versions = {name: metadata.version(name) for name in _PACKAGES[engine]}
    keras = engine == "keras"
    return {
        "backbone": backbone.name,
        "alpha": float(backbone.alpha),
        "cut": backbone.cut,
        "pooling": backbone.pooling,
        "preprocessing": backbone.preprocessing,
        "image_size": backbone.image_size,
        "weights_sha256": backbone.weights_sha256,
        "network_sha256": None if keras else backbone.tflite_sha256,
        "pixels": SPEC,
        "view": 0,
        "view_seed": None,
        "engine": engine,
        "engine_versions": versions,
        "machine": architecture(),
        "device": device,
        "batch": keras_batch(device) if keras else 1,
        "op_determinism": keras,
    }


def row_bytes(shape: Sequence[int]) -> int:
    """Bytes of one image's float32 features."""
    return 4 * int(np.prod(shape, dtype=np.int64))


def interpreters(network_bytes: int, workers: int) -> tuple[int, int]:
    """How many LiteRT interpreters to run at once, and the threads of each.

    One a core with one thread each does most images a second; with a large network fewer, so
    that their memory stays bounded, which then share the cores. The bits are the same.
    """
    budget = _LEAST_BUDGET
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf.
        budget = max(budget, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)
    count = max(1, min(workers, budget // (2 * network_bytes + _ACTIVATIONS)))
    return count, max(1, workers // count)


def extract(
    rows: pd.DataFrame,
    reader: Reader,
    make_function: Callable[[], Function],
    size: int,
    store: FeatureStore,
    desc: str,
    *,
    batch: int = 1,
    workers: int | None = None,
    functions: int | None = None,
    decode: Callable[[bytes, int], Pixels] = pixels,
    views: ViewsOf | None = None,
) -> Passes:
    """Record the features of every image, or of every view of it, that the store lacks.

    Parameters
    ----------
    rows : DataFrame
        Columns image_id, shard, offset, bytes; and path, for messages.
    reader : ShardReader
        Where the images' bytes are read from.
    make_function : callable
        Makes a function from pixels of shape (n, size, size, 3), uint8, n ≤ ``batch``, to features
        of shape (n, ...) as the store's. Not called if nothing is missing.
    size : int
        Side of the decoded image in pixels.
    store : FeatureStore
    desc : str
        What is done, for the progress.
    batch : int
        Images a call, and a commit.
    workers : int, optional
        Threads that decode and call; by default one a core.
    functions : int, optional
        Functions that are made and shared by the workers; by default one for each.
    decode : callable
        From a file's bytes and ``size`` to pixels.
    views : ViewsOf, optional
        Record these views of the images, and not the images themselves.

    Raises
    ------
    HeadstartError
        Naming the image that could not be read, decoded or passed. All others that were finished
        are recorded. Or, before the first one, if the store's disk has no room for them.
    """
    start = time.perf_counter()
    distinct = rows.drop_duplicates("image_id")
    ids = _keys(distinct["image_id"], views)
    workers = workers or cores()
    pool: SimpleQueue[Function] = SimpleQueue()
    done = 0
    if store.missing(ids):
        with store.filling():
            # Asked again, because another process may have been filling it until now; and once
            # more if the store was found damaged in the meantime, and lost rows that it had.
            for _ in range(_ATTEMPTS):
                repairs, missing = store.repairs, store.missing(ids)
                # SQLite adds a page to a row at most, and its run statistics is emptied as it
                # grows.
                room = len(missing) * (row_bytes(store.shape) + _PAGE)
                require_room({store.path.parent: room}, desc, _ROOM)
                if pool.empty() and missing:
                    count = min(functions or workers, -(-len(missing) // batch))
                    # One after another: loading a network is not safe in several threads.
                    for _ in range(count):
                        pool.put(make_function())
                work = Work(reader, pool, size, store.shape, decode, views, batch)
                wanted = images_of(distinct, missing)
                with progress(total=len(missing), desc=desc, unit="image") as bar:
                    run(work, wanted, store, bar, batch=batch, workers=workers)
                done += len(missing)
                if store.repairs == repairs:
                    break
    seconds, cached = time.perf_counter() - start, max(0, len(ids) - done)
    if views is not None:
        return Passes(len(rows) * views.count, done, cached, seconds, "views of images")
    return Passes(len(rows), done, cached, seconds)


def assemble(ids: Sequence[str], store: FeatureStore, target: Path, dtype: str = "float32") -> str:
    """Write the features of ``ids`` in their order as one ``.npy``; return its sha256.

    One row is in memory at a time. Map the file to read it: ``np.load(target, mmap_mode="r")``.
    """
    return write_npy(target, len(ids), store.shape, dtype, store.rows(ids))


def _keys(ids: pd.Series[str], views: ViewsOf | None) -> list[str]:
    """Under which keys the store holds what is asked for of some images."""
    return list(ids) if views is None else [key for name in ids for key in views.keys(name)]

"""What the frozen lower part of a fine-tuned base says of pictures: once each, or live for views.

The lower part is a converted network like the whole base, so its activations are features like any
others: recorded by picture, and never computed twice. Views of augmented pictures are new pixels in
every epoch; they pass through it live, and every pass is counted.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.artifacts.feature_store import FeatureStore
from stages.core.files import sha256_file
from stages.core.params.fine_tune import AugmentParams
from stages.engine.extraction import Passes, Reader, cores, extract, interpreters
from stages.engine.litert import LiteRTFunction
from stages.imaging.augment import augment
from stages.imaging.pixels import SPEC, pixels

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]


def record(network: Path, size: int) -> dict[str, Any]:
    """Everything that decides the bits of an activation besides the picture; JSON values.

    The network's own bytes say which base, weights and cut it is, so that fine-tuning and
    evaluation agree on the store without agreeing on anything else.
    """
    return {
        "network_sha256": sha256_file(network),
        "image_size": size,
        "pixels": SPEC,
        "view": 0,
        "engine": "litert",
        "engine_versions": {"ai-edge-litert": metadata.version("ai-edge-litert")},
        "machine": platform.machine().lower(),
    }


@contextmanager
def recorded(
    network: Path, rows: pd.DataFrame, reader: Reader, size: int, desc: str
) -> Iterator[tuple[FeatureStore, Passes]]:
    """A store that holds the output of ``network`` for every picture of ``rows``.

    Parameters
    ----------
    network : Path
        A ``.tflite`` file from uint8 pixels to anything.
    rows : DataFrame
        As for :func:`stages.engine.extraction.extract`.
    reader : Reader
    size : int
        Side of the decoded pictures.
    desc : str
        Title of the progress.
    """
    count, threads = interpreters(network.stat().st_size, cores())
    shape = LiteRTFunction(network).output_shape
    with FeatureStore.open(record(network, size), shape) as store:
        passes = extract(
            rows,
            reader,
            lambda: LiteRTFunction(network, threads),
            size,
            store,
            desc,
            functions=count,
        )
        yield store, passes


def run(network: Path, inputs: Array, at_once: int = 32) -> Array:
    """Output of a network for every row of an array, which may be memory-mapped.

    Parameters
    ----------
    network : Path
    inputs : ndarray of shape (n, *input_shape)
    at_once : int
        Rows that a worker reads at once.

    Returns
    -------
    ndarray of shape (n, *output_shape), float32
        Of the same bits, however many cores there are.
    """
    functions = _Pool(network)
    starts = range(0, len(inputs), at_once)
    with ThreadPoolExecutor(functions.count) as pool:
        parts = pool.map(
            lambda start: functions(np.asarray(inputs[start : start + at_once])), starts
        )
        return np.concatenate(list(parts))


class Views:
    """Training pictures as a model sees them in an epoch, made when they are asked for.

    Parameters
    ----------
    rows : DataFrame
        Pictures, in the order that indices speak of.
    reader : Reader
    size : int
    params : AugmentParams
        All zero: the pictures as they are.
    seed : int
    network : Path or None
        Frozen lower part that every view passes through; None: the pixels themselves.

    Attributes
    ----------
    passes : int
        Views that went through the network so far.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        reader: Reader,
        size: int,
        params: AugmentParams,
        seed: int,
        network: Path | None,
    ) -> None:
        self._columns = [rows[name].tolist() for name in ("image_id", "shard", "offset", "bytes")]
        self._reader, self._size, self._params, self._seed = reader, size, params, seed
        self._functions = None if network is None else _Pool(network)
        self._workers = ThreadPoolExecutor(cores(), thread_name_prefix="views")
        self.passes = 0

    def take(self, indices: Sequence[int] | npt.NDArray[np.int32], epoch: int) -> Array:
        """The views of some rows in an epoch: the same for the same arguments, in any order.

        Returns
        -------
        ndarray of shape (n, *output_shape of the network), float32, or (n, size, size, 3), uint8
        """
        views = list(self._workers.map(lambda index: self._view(int(index), epoch), indices))
        if self._functions is not None:
            self.passes += len(views)
        return np.stack(views)

    def close(self) -> None:
        """End the worker threads."""
        self._workers.shutdown(cancel_futures=True)

    def _view(self, index: int, epoch: int) -> Array:
        image_id, shard, offset, length = (column[index] for column in self._columns)
        picture: Array = pixels(self._reader.read(shard, offset, length, image_id), self._size)
        if self._params.active:
            picture = augment(picture, self._params, self._seed, image_id, epoch)
        return picture if self._functions is None else self._functions(picture[None])[0]


class _Pool:
    """A network that several threads may call at once."""

    def __init__(self, network: Path) -> None:
        self.count, threads = interpreters(network.stat().st_size, cores())
        self._free: SimpleQueue[Function] = SimpleQueue()
        for _ in range(self.count):
            self._free.put(LiteRTFunction(network, threads))

    def __call__(self, batch: Array) -> Array:
        function = self._free.get()
        try:
            return function(batch)
        finally:
            self._free.put(function)

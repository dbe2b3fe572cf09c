"""What the frozen lower part of a fine-tuned base says of pictures: once each, or live for views.

The lower part is a converted network like the whole base, so its activations are features like any
others: recorded by picture, and never computed twice. Views of augmented pictures are new pixels in
every epoch; they pass through it live, and every pass is counted.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
from stages.engine.extraction import Passes, Reader, assemble, cores, extract, interpreters
from stages.engine.litert import LiteRTFunction
from stages.imaging.augment import augment
from stages.imaging.pixels import SPEC, pixels

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

#: Rows that are read at once.
_AT_ONCE = 32


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


def arrays(
    network: Path | None,
    parts: Mapping[str, pd.DataFrame],
    reader: Reader,
    size: int,
    work: Path,
) -> tuple[dict[str, Array], Passes]:
    """What the trained part reads of some pictures, as maps of files: memory stays bounded.

    Parameters
    ----------
    network : Path or None
        The frozen lower part, a ``.tflite`` file from uint8 pixels; its output is taken from the
        feature store, after what the store lacks was computed. None: the pixels themselves.
    parts : mapping of str to DataFrame
        Pictures by the name of their array; columns as for
        :func:`stages.engine.extraction.extract`.
    reader : Reader
    size : int
        Side of the decoded pictures.
    work : Path
        Existing folder for the files; the arrays need them.

    Returns
    -------
    arrays : dict of str to ndarray
        (n, *output_shape of the network) float32, or (n, size, size, 3) uint8.
    passes : Passes
        Of the frozen part.
    """
    if network is None:
        return {name: _pixels(rows, reader, size, work / name) for name, rows in parts.items()}, (
            Passes(0, 0, 0, 0.0)
        )
    count, threads = interpreters(network.stat().st_size, cores())
    shape = LiteRTFunction(network).output_shape
    with FeatureStore.open(record(network, size), shape) as store:
        passes = extract(
            pd.concat(parts.values(), ignore_index=True),
            reader,
            lambda: LiteRTFunction(network, threads),
            size,
            store,
            "Activations of the frozen part",
            functions=count,
        )
        found: dict[str, Array] = {}
        for name, rows in parts.items():
            target = work / f"{name}.npy"
            assemble(rows["image_id"].tolist(), store, target)
            found[name] = np.load(target, mmap_mode="r")
    return found, passes


def _pixels(rows: pd.DataFrame, reader: Reader, size: int, target: Path) -> Array:
    shape = (len(rows), size, size, 3)
    found: Array = np.lib.format.open_memmap(
        target.with_suffix(".npy"), mode="w+", dtype=np.uint8, shape=shape
    )
    with closing(Views(rows, reader, size)) as views:
        for start in range(0, len(rows), _AT_ONCE):
            indices = range(start, min(start + _AT_ONCE, len(rows)))
            found[indices.start : indices.stop] = views.take(indices, 0)
    return found


def run(network: Path, inputs: Array) -> Array:
    """Output of a network for every row of an array, which may be memory-mapped.

    Parameters
    ----------
    network : Path
    inputs : ndarray of shape (n, *input_shape)

    Returns
    -------
    ndarray of shape (n, *output_shape), float32
        Of the same bits, however many cores there are.
    """
    functions = _Pool(network)
    starts = range(0, len(inputs), _AT_ONCE)
    with ThreadPoolExecutor(functions.count) as pool:
        parts = pool.map(
            lambda start: functions(np.asarray(inputs[start : start + _AT_ONCE])), starts
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
    params : AugmentParams or None
        None, or all zero: the pictures as they are.
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
        params: AugmentParams | None = None,
        seed: int = 0,
        network: Path | None = None,
    ) -> None:
        self._columns = [rows[name].tolist() for name in ("image_id", "shard", "offset", "bytes")]
        self._reader, self._size, self._params, self._seed = reader, size, params, seed
        self._functions = None if network is None else _Pool(network)
        self._workers = ThreadPoolExecutor(cores(), thread_name_prefix="views")
        self.passes = 0

    def take(self, indices: Iterable[int], epoch: int) -> Array:
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
        if self._params is not None and self._params.active:
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

"""What the frozen lower part of a fine-tuned backbone says of images: once each, and never again.

The lower part is a converted network like the whole backbone, so its activations are features like
any others: recorded by image, and never computed twice. (Augmented views pass through it live, see
:mod:`headstart.training.views`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.disk import amount, require_room
from headstart._utils.files import sha256_file
from headstart._utils.machine import architecture, cores
from headstart.backbones.litert import LiteRTFunction
from headstart.features.extraction import Passes, assemble, extract, interpreters, row_bytes
from headstart.features.forward_passes import Reader
from headstart.features.store import FeatureStore
from headstart.images.resize import SPEC, pixels

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

#: Rows that are read at once take at most this together, however large a row is.
_BLOCK_BYTES = 64 << 20
#: Recorded activations that are worth a word, because they fill a disk.
_WORTH_A_WORD = 10**9
_ROOM = (
    "Free some room, name a folder on another disk for what is recorded in the environment "
    "variable HEADSTART_CACHE, or unfreeze fewer layers (`fine_tune.unfreeze`): mostly, the "
    "higher the cut, the smaller the activations."
)


def record(network: Path, size: int) -> dict[str, Any]:
    """Everything that decides the bits of an activation besides the image; JSON values.

    The network's own bytes say which backbone, weights and cut it is, so that fine-tuning and
    evaluation agree on the store without agreeing on anything else.
    """
    return {
        "network_sha256": sha256_file(network),
        "image_size": size,
        "pixels": SPEC,
        "view": 0,
        "engine": "litert",
        "engine_versions": {"ai-edge-litert": metadata.version("ai-edge-litert")},
        "machine": architecture(),
    }


def rows_at_once(row: int) -> int:
    """How many rows of so many bytes to hold in memory: one at least."""
    return max(1, _BLOCK_BYTES // max(1, row))


def check_room(store: FeatureStore, ids: Iterable[str], work: Path | None = None) -> None:
    """Refuse activations for which there is no room on the disk; say so if they are large.

    Parameters
    ----------
    store : FeatureStore
        Where what it lacks of ``ids`` is going to be recorded.
    ids : iterable of str
        Of the images, as often as they are used.
    work : Path or None
        Folder that gets a copy of all of them as one array, if any does.

    Raises
    ------
    HeadstartError
        With what is needed, what is free, and where.
    """
    rows = list(ids)
    row = row_bytes(store.shape)
    needs = {store.path.parent: row * len(store.missing(rows, verify=False))}
    if work is not None:
        needs[work] = row * len(rows)
    if row * len(rows) > _WORTH_A_WORD:
        copied = "" if work is None else f", and as much in {work} while the stage runs"
        print(
            f"The activations of {len(rows):,} images take {amount(row * len(rows))} in "
            f"{store.path.parent}{copied}.",
            flush=True,
        )
    require_room(needs, "The activations", _ROOM)


def fill(
    store: FeatureStore, network: Path, rows: pd.DataFrame, reader: Reader, size: int, desc: str
) -> Passes:
    """Record what the store lacks of a converted network's output for some images.

    Parameters, result and errors are those of :func:`headstart.features.extraction.extract`.
    """
    count, threads = interpreters(network.stat().st_size, cores())
    make = partial(LiteRTFunction, network, threads)
    return extract(rows, reader, make, size, store, desc, functions=count)


def arrays(
    network: Path | None,
    parts: Mapping[str, pd.DataFrame],
    reader: Reader,
    size: int,
    work: Path,
) -> tuple[dict[str, Array], Passes]:
    """What the trained part reads of some images, as maps of files: memory stays bounded.

    Parameters
    ----------
    network : Path or None
        The frozen lower part, a ``.tflite`` file from uint8 pixels; its output is taken from the
        feature store, after what the store lacks was computed. None: the pixels themselves.
    parts : mapping of str to DataFrame
        Images by the name of their array; columns as for
        :func:`headstart.features.extraction.extract`.
    reader : Reader
    size : int
        Side of the decoded images.
    work : Path
        Existing folder for the files; the arrays need them.

    Returns
    -------
    arrays : dict of str to ndarray
        (n, *output_shape of the network) float32, or (n, size, size, 3) uint8.
    passes : Passes
        Of the frozen part.

    Raises
    ------
    HeadstartError
        If a disk has no room for them, before the first pass; or as
        :func:`headstart.features.extraction.extract`.
    """
    if network is None:
        count = sum(len(rows) for rows in parts.values())
        require_room({work: count * size * size * 3}, "The decoded images", _ROOM)
        return {name: _pixels(rows, reader, size, work / name) for name, rows in parts.items()}, (
            Passes(0, 0, 0, 0.0)
        )
    shape = LiteRTFunction(network).output_shape
    everything = pd.concat(parts.values(), ignore_index=True)
    with FeatureStore.open(record(network, size), shape) as store:
        check_room(store, everything["image_id"], work)
        passes = fill(store, network, everything, reader, size, "Activations of the frozen part")
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
    columns = (rows[name] for name in ("image_id", "shard", "offset", "bytes"))
    places = list(enumerate(zip(*columns, strict=True)))

    def decode(place: tuple[int, tuple[Any, ...]]) -> None:
        index, (image_id, shard, offset, length) = place
        found[index] = pixels(reader.read(shard, offset, length, image_id), size)

    with ThreadPoolExecutor(cores(), thread_name_prefix="pixels") as pool:
        for _ in pool.map(decode, places):
            pass
    return found


def run(functions: Pool, inputs: Array) -> Array:
    """Output of a network for every row of an array, which may be memory-mapped.

    Parameters
    ----------
    functions : Pool
        The network.
    inputs : ndarray of shape (n, *input_shape)
        Few of its rows are read at once.

    Returns
    -------
    ndarray of shape (n, *output_shape), float32
        Of the same bits, however many cores there are.
    """
    found = np.empty((len(inputs), *functions.output_shape), np.float32)

    def fill(index: int) -> None:
        found[index] = functions(np.asarray(inputs[index : index + 1]))[0]

    with ThreadPoolExecutor(functions.count) as pool:
        for _ in pool.map(fill, range(len(inputs))):
            pass
    return found


class Pool:
    """A network that several threads may call at once.

    Attributes
    ----------
    count : int
        Calls that run at the same time.
    output_shape : tuple of int
        Of one image.
    """

    def __init__(self, network: Path) -> None:
        self.count, threads = interpreters(network.stat().st_size, cores())
        self._free: SimpleQueue[Function] = SimpleQueue()
        for _ in range(self.count):
            function = LiteRTFunction(network, threads)
            self.output_shape = function.output_shape
            self._free.put(function)

    def __call__(self, batch: Array) -> Array:
        """The network's output; waits while all of them are in use."""
        function = self._free.get()
        try:
            return function(batch)
        finally:
            self._free.put(function)

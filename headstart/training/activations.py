"""Activations of the frozen lower part of a fine-tuned backbone.

The lower part is a converted network like the whole backbone, so its activations are features like
any others: cached by image, and never computed twice. Augmented views of training images are new
pixels in every epoch: they pass live, none is cached, and every pass is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.disk import amount, require_room
from headstart._utils.files import sha256_file
from headstart._utils.machine import architecture, cores
from headstart.backbones.litert import LiteRTFunction, LiteRTPool
from headstart.features.extraction import Passes, extract
from headstart.features.forward_passes import Cluster, Reader, ShardImages, litert_engine
from headstart.features.npy import write_npy
from headstart.features.store import FeatureStore, row_bytes
from headstart.images.augmentation import augment
from headstart.images.augmentation_parameters import AugmentParams
from headstart.images.resize import pixels, spec

Array = npt.NDArray[Any]

#: Rows that are read at once take at most this together, however large a row is.
_BLOCK_BYTES = 64 << 20
#: Images that are decoded before they are written.
_DECODED_AT_ONCE = 64
#: Cached activations that are worth a message, because they fill a disk.
_WORTH_A_MESSAGE = 10**9
_ROOM = (
    "Free some room, name a folder on another disk for the feature store in the environment "
    "variable HEADSTART_CACHE, or unfreeze fewer layers (`fine_tune.unfreeze`): usually, the "
    "higher the cut, the smaller the activations."
)


def fingerprint_record(network: Path, size: int, gray16_bits: int | None) -> dict[str, Any]:
    """Return everything but the image that decides the bits of an activation, as JSON values.

    The network's own bytes identify backbone, weights and cut, so that fine-tuning and evaluation
    use the same store without agreeing on anything else.
    """
    return {
        "network_sha256": sha256_file(network),
        "image_size": size,
        "pixels": spec(gray16_bits),
        "view": 0,
        "engine": "litert",
        "engine_versions": {"ai-edge-litert": metadata.version("ai-edge-litert")},
        "machine": architecture(),
    }


def open_store(network: Path, size: int, gray16_bits: int | None) -> FeatureStore:
    """Open the store of a converted network's output."""
    record = fingerprint_record(network, size, gray16_bits)
    return FeatureStore(record, LiteRTFunction(network).output_shape)


def rows_at_once(row: int) -> int:
    """Return the number of rows of this many bytes to hold in memory: at least one."""
    return max(1, _BLOCK_BYTES // max(1, row))


def check_room(store: FeatureStore, ids: Iterable[str], work: Path | None = None) -> None:
    """Refuse activations for which the disk has no room; print their size if they are large.

    Parameters
    ----------
    store : FeatureStore
        The store to be filled.
    ids : iterable of str
        Of the images, as often as they are used.
    work : Path or None
        Folder that gets a copy of all of them as one array, if any does.

    Raises
    ------
    HeadstartError
        With the needed and the free space, and the folder.
    """
    rows = list(ids)
    row = row_bytes(store.shape)
    needs = {store.path.parent: row * len(store.missing(rows, verify=False))}
    if work is not None:
        needs[work] = row * len(rows)
    if row * len(rows) > _WORTH_A_MESSAGE:
        copied = "" if work is None else f", and as much in {work} while the stage runs"
        print(
            f"The activations of {len(rows):,} images take {amount(row * len(rows))} in "
            f"{store.path.parent}{copied}.",
            flush=True,
        )
    require_room(needs, "The activations", _ROOM)


def fill(
    store: FeatureStore, network: Path, rows: pd.DataFrame, reader: Reader, size: int,
    gray16_bits: int | None, desc: str, cluster: Cluster | None = None,
) -> Passes:  # fmt: skip
    """Cache a converted network's output for the images of a manifest that the store lacks.

    With ``cluster``, its workers compute it. Result and errors are those of
    :func:`headstart.features.extraction.extract`.
    """
    engine = litert_engine(network, size, gray16_bits)
    return extract(ShardImages(rows, reader), engine, store, desc, cluster=cluster)


def arrays(
    network: Path | None,
    parts: Mapping[str, pd.DataFrame],
    reader: Reader,
    size: int,
    gray16_bits: int | None,
    work: Path,
    cluster: Cluster | None = None,
) -> tuple[dict[str, Array], Passes]:
    """Return the inputs of the trained part for some images, as memory maps of files.

    Parameters
    ----------
    network : Path or None
        The frozen lower part, a ``.tflite`` file from uint8 pixels; its output comes from the
        feature store, after what the store lacks was computed. None: the pixels themselves.
    parts : mapping of str to DataFrame
        Manifest rows by the name of their array.
    reader : Reader
    size : int
        Side of the decoded images.
    gray16_bits : int or None
        Bits of white in 16-bit gray images.
    work : Path
        Existing folder for the files; the arrays need them.
    cluster : Cluster, optional
        Its workers run the network.

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
        decoded = {
            name: _pixels(rows, reader, size, gray16_bits, work / name)
            for name, rows in parts.items()
        }
        return decoded, Passes(0, 0, 0, 0.0)
    everything = pd.concat(parts.values(), ignore_index=True)
    with open_store(network, size, gray16_bits) as store:
        check_room(store, everything["image_id"], work)
        desc = "Activations of the frozen part"
        passes = fill(store, network, everything, reader, size, gray16_bits, desc, cluster)
        found: dict[str, Array] = {}
        for name, rows in parts.items():
            target, ids = work / f"{name}.npy", rows["image_id"].tolist()
            write_npy(target, len(ids), store.shape, "float32", store.rows(ids))
            found[name] = np.load(target, mmap_mode="r")
    return found, passes


def _pixels(
    rows: pd.DataFrame, reader: Reader, size: int, gray16_bits: int | None, target: Path
) -> Array:
    found: Array = np.lib.format.open_memmap(
        target.with_suffix(".npy"), mode="w+", dtype=np.uint8, shape=(len(rows), size, size, 3)
    )
    with LiveViews(rows, reader, size, gray16_bits) as images:
        for start in range(0, len(rows), _DECODED_AT_ONCE):
            stop = min(start + _DECODED_AT_ONCE, len(rows))
            found[start:stop] = images.take(range(start, stop), 0)
    return found


def run_network(functions: LiteRTPool, inputs: Array) -> Array:
    """Return the output of a network for every row of an array, which may be memory-mapped.

    Parameters
    ----------
    functions : LiteRTPool
        The network.
    inputs : ndarray of shape (n, *input_shape)
        Few of its rows are read at once.

    Returns
    -------
    ndarray of shape (n, *output_shape), float32
        Of the same bits, however many cores there are.
    """
    found = np.empty((len(inputs), *functions.output_shape), np.float32)

    def fill_row(index: int) -> None:
        found[index] = functions(np.asarray(inputs[index : index + 1]))[0]

    with ThreadPoolExecutor(functions.count) as pool:
        for _ in pool.map(fill_row, range(len(inputs))):
            pass
    return found


class LiveViews:
    """Training images as a model sees them in an epoch, made when they are asked for.

    Use it in a ``with`` block, which ends the worker threads.

    Parameters
    ----------
    rows : DataFrame
        Manifest rows, in the order that indices refer to.
    reader : Reader
    size : int
        Side of the decoded images.
    gray16_bits : int or None
        Bits of white in 16-bit gray images.
    params : AugmentParams or None
        None, or all zero: the images without changes.
    seed : int
        Of the changes.
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
        gray16_bits: int | None,
        params: AugmentParams | None = None,
        seed: int = 0,
        network: Path | None = None,
    ) -> None:
        self._columns = [rows[name].tolist() for name in ("image_id", "shard", "offset", "bytes")]
        self._reader, self._params, self._seed = reader, params, seed
        self._size, self._bits = size, gray16_bits
        self._functions = None if network is None else LiteRTPool(network)
        self._workers = ThreadPoolExecutor(cores(), thread_name_prefix="views")
        self.passes = 0

    def take(self, indices: Iterable[int], epoch: int) -> Array:
        """Return the views of some rows in an epoch, the same for the same arguments in any order.

        Returns
        -------
        ndarray of shape (n, *output_shape of the network), float32, or (n, size, size, 3), uint8
        """
        views = list(self._workers.map(lambda index: self._view(int(index), epoch), indices))
        if self._functions is not None:
            self.passes += len(views)
        return np.stack(views)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.shutdown(cancel_futures=True)

    def _view(self, index: int, epoch: int) -> Array:
        image_id, shard, offset, length = (column[index] for column in self._columns)
        content = self._reader.read(shard, offset, length, image_id)
        image: Array = pixels(content, self._size, gray16_bits=self._bits)
        if self._params is not None and self._params.active:
            image = augment(image, self._params, self._seed, image_id, epoch)
        return image if self._functions is None else self._functions(image[None])[0]

"""Augmented training images: new pixels in every epoch, which pass through the frozen part live.

Nothing of them is recorded, and every pass is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from headstart._utils.machine import cores
from headstart.features.forward_passes import Reader
from headstart.images.augmentation import augment
from headstart.images.augmentation_parameters import AugmentParams
from headstart.images.resize import pixels
from headstart.training.activations import Array, Pool


class Views:
    """Training images as a model sees them in an epoch, made when they are asked for.

    Parameters
    ----------
    rows : DataFrame
        Images, in the order that indices speak of.
    reader : Reader
    size : int
    params : AugmentParams or None
        None, or all zero: the images as they are.
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
        self._functions = None if network is None else Pool(network)
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
        image: Array = pixels(self._reader.read(shard, offset, length, image_id), self._size)
        if self._params is not None and self._params.active:
            image = augment(image, self._params, self._seed, image_id, epoch)
        return image if self._functions is None else self._functions(image[None])[0]

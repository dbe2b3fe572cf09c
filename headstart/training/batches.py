"""The images to train on and their order: sources of batches of one fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive

Indices = npt.NDArray[np.int32]
Mask = npt.NDArray[np.float32]
Batch = npt.NDArray[Any]

#: Arrays up to this size are copied into memory; larger ones are read batch by batch.
RESIDENT_BYTES = 2 << 30


@dataclass(frozen=True)
class BatchSource:
    """Images to train or validate on, as numbers.

    Made by :meth:`of_array` or :meth:`of_function`.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Class indices.
    take : callable (indices, epoch) -> ndarray of shape (len(indices), …)
        Inputs of the model for these rows. ``epoch`` counts from 1 over the training and is 0 in
        validation, so that a source of augmented images can give another view every time. Called
        from one other thread, one call at a time, one batch ahead.
    array : ndarray or None
        All inputs, where they fit into memory: batches are then gathered inside the graph.
    row_values : int or None
        Numbers in a row of inputs, where that is known.
    """

    labels: npt.NDArray[np.int32]
    take: Callable[[Indices, int], Batch] = field(repr=False)
    array: Batch | None = field(default=None, repr=False)
    row_values: int | None = None

    @classmethod
    def of_array(
        cls, array: Batch, labels: npt.NDArray[Any], resident_bytes: int = RESIDENT_BYTES
    ) -> BatchSource:
        """Take rows of an array, which may be memory-mapped and larger than memory."""
        if len(array) != len(labels):
            raise ValueError(f"{len(array)} rows with {len(labels)} labels")
        resident = np.asarray(array) if array.nbytes <= resident_bytes else None
        values = int(np.prod(array.shape[1:], dtype=np.int64))
        return cls(_labels(labels), lambda rows, _: np.asarray(array[rows]), resident, values)

    @classmethod
    def of_function(
        cls, take: Callable[[Indices, int], Batch], labels: npt.NDArray[Any]
    ) -> BatchSource:
        """Take the output of ``take(indices, epoch)``, the same for the same arguments."""
        return cls(_labels(labels), take)

    def __len__(self) -> int:
        return len(self.labels)

    def ahead(self, rows: Indices, mask: Mask, epoch: int) -> Iterator[Batch]:
        """Yield the inputs of each batch of ``rows``; the next is made while one is used.

        Rows at weight 0 are those that the first batch starts with, as :func:`filled` puts them.
        They are taken over from it: nothing is read, changed or passed for them.
        """
        wanted = [row[keep > 0] for row, keep in zip(rows, mask, strict=True)]
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.take, wanted[0], epoch)
            first: Batch | None = None
            for indices in [*wanted[1:], None]:
                batch = coming.result()
                if indices is not None:
                    coming = pool.submit(self.take, indices, epoch)
                first = batch if first is None else first
                lacking = rows.shape[1] - len(batch)
                yield np.concatenate([batch, first[:lacking]]) if lacking else batch


def epoch_batches(
    n: int, batch: int, epoch: int, steps: int | None, seed: int
) -> tuple[Indices, Mask]:
    """Return the rows that make the batches of an epoch.

    Parameters
    ----------
    n, batch : int
        Rows in total, and rows per batch (at most n).
    epoch : int
        Counts from 1.
    steps : int or None
        Batches per epoch: the rows continue where the last epoch ended, one permutation after
        the other, so that each is seen equally often. None: every row once.
    seed : int
        Permutation k is drawn by a Philox generator keyed by (seed, k) alone.

    Returns
    -------
    indices : ndarray of shape (steps, batch), int32
    mask : ndarray of shape (steps, batch), float32
        1, or 0 for the rows that fill up the last batch.
    """
    if steps is None:
        return filled(_permutation(seed, epoch - 1, n), batch)
    start, stop = (epoch - 1) * steps * batch, epoch * steps * batch
    first, last = start // n, (stop - 1) // n
    stream = np.concatenate([_permutation(seed, k, n) for k in range(first, last + 1)])
    rows = stream[start - first * n : stop - first * n].reshape(steps, batch)
    return rows, np.ones(rows.shape, np.float32)


def filled(order: Indices, batch: int) -> tuple[Indices, Mask]:
    """Return ``order`` in batches; the last is filled up with the first rows, at weight 0."""
    steps = -(-len(order) // batch)
    mask = np.zeros(steps * batch, np.float32)
    mask[: len(order)] = 1
    return np.resize(order, steps * batch).reshape(steps, batch), mask.reshape(steps, batch)


def balanced_class_weights(labels: npt.NDArray[Any], n_classes: int) -> npt.NDArray[np.float64]:
    """Return images / (classes × images of the class) for each class, 0 if it has none.

    The mean weight of an image is 1, so that the learning rate keeps its meaning.
    """
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    present = counts > 0
    weights = np.zeros(n_classes)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


def _permutation(seed: int, k: int, n: int) -> Indices:
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "order", k)))
    return generator.permutation(n).astype(np.int32)


def _labels(labels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    if not len(labels):
        raise ValueError("a source of batches needs at least one row")
    return np.asarray(labels, np.int32)

"""Images through a model: read, decoded and passed in threads, answered in order.

As in extraction, worker threads do everything that takes time and the thread that called takes the
results, so that memory holds a few images however many there are; unlike there, the results come
in the order of the inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import ImageError
from headstart._utils.machine import cores
from headstart.images.decode import Limits
from headstart.images.resize import pixels
from headstart.serving.inputs import Input, read_file

#: Threads where addresses are among the inputs: a server's answer is waited for, not computed.
_REMOTE_WORKERS = 8

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Function(Protocol):
    """What images pass through: :class:`headstart.serving.classifier.Classifier`, for one."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""

    @property
    def batch(self) -> int:
        """Images that a call should have; 1 where more bring nothing."""

    @property
    def calls(self) -> int:
        """Calls that run at the same time."""

    def __call__(self, pixels: Pixels, /) -> Floats:
        """uint8 (n, size, size, 3) to a row for each image; called from several threads."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one input.

    Attributes
    ----------
    input : Input
    output : ndarray, float32, or None
        What the function gave for it; None where it could not be read.
    fault : ImageError or None
        Why not.
    content : bytes
        The file, if it was asked to be kept.
    """

    input: Input
    output: Floats | None = None
    fault: ImageError | None = None
    content: bytes = b""


def predict(
    function: Function, inputs: Sequence[Input], limits: Limits, *, keep: bool = False
) -> Iterator[Outcome]:
    """One outcome for each input, in their order.

    Parameters
    ----------
    function : Function
    inputs : sequence of Input
    limits : Limits
        What is accepted as an image.
    keep : bool
        Whether the files' bytes come with the outcomes.
    """
    workers = max(cores(), function.calls)
    if any(one.remote for one in inputs):
        workers = max(workers, _REMOTE_WORKERS)
    iterator = iter(inputs)
    waiting: deque[Future[list[Outcome]]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="predict")
    try:
        # A few tasks a worker keep all of them busy although results are taken in order, and bound
        # what is in memory.
        while True:
            while len(waiting) < 4 * workers:
                chunk = list(islice(iterator, function.batch))
                if not chunk:
                    break
                waiting.append(executor.submit(_run, function, chunk, limits, keep))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _run(function: Function, chunk: Sequence[Input], limits: Limits, keep: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    batch = []
    for one in chunk:
        try:
            content = read(one, limits)
            batch.append(pixels(content, function.size, limits))
        except ImageError as fault:
            outcomes.append(Outcome(one, fault=fault))
        else:
            outcomes.append(Outcome(one, content=content if keep else b""))
    if not batch:
        return outcomes
    rows = iter(function(np.stack(batch)))
    return [
        one if one.fault else Outcome(one.input, next(rows), None, one.content) for one in outcomes
    ]


def refusals(inputs: Sequence[Input], limits: Limits) -> Iterator[Outcome]:
    """Those of the inputs whose bytes cannot be had, without any function."""
    for one in inputs:
        try:
            read(one, limits)
        except ImageError as fault:
            yield Outcome(one, fault=fault)


def read(one: Input, limits: Limits) -> bytes:
    """The bytes of an input.

    Raises
    ------
    ImageError
        If they cannot be had, or are too many.
    """
    if one.refusal:
        raise ImageError(*one.refusal)
    if one.remote:
        from headstart.serving.web import fetch

        return fetch(one.place, limits.max_bytes)
    return read_file(one.place, limits.max_bytes)

"""Run images through a model: read, decode and pass them in threads, in the order of the inputs.

Worker threads do everything that takes time and the calling thread takes the results, so memory
holds a few images however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from headstart._utils.errors import ImageError
from headstart._utils.machine import cores
from headstart.images.decode import Limits
from headstart.images.resize import pixels
from headstart.serving.inputs import Input, read
from headstart.serving.models import Floats, Model

#: Threads if addresses are among the inputs: these wait for servers instead of computing.
_REMOTE_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one input.

    Attributes
    ----------
    input : Input
    output : ndarray, float32, or None
        The model's output; None if the input could not be read.
    fault : ImageError or None
        The reason it could not be read.
    content : bytes
        The file's bytes, if they were to be kept.
    """

    input: Input
    output: Floats | None = None
    fault: ImageError | None = None
    content: bytes = b""


def predict(
    model: Model, inputs: Sequence[Input], limits: Limits, *, keep: bool = False
) -> Iterator[Outcome]:
    """Yield one outcome for each input, in their order.

    Parameters
    ----------
    model : Model
    inputs : sequence of Input
    limits : Limits
        Limits of accepted images.
    keep : bool
        Whether outcomes carry the files' bytes.
    """
    workers = max(cores(), model.calls)
    if any(one.remote for one in inputs):
        workers = max(workers, _REMOTE_WORKERS)
    iterator = iter(inputs)
    waiting: deque[Future[list[Outcome]]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="predict")
    try:
        # A few tasks per worker keep all of them busy although results are taken in order, and
        # bound the memory.
        while True:
            while len(waiting) < 4 * workers:
                chunk = list(islice(iterator, model.batch))
                if not chunk:
                    break
                waiting.append(executor.submit(_run, model, chunk, limits, keep))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _run(model: Model, chunk: Sequence[Input], limits: Limits, keep: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    batch = []
    for one in chunk:
        try:
            content = read(one, limits)
            batch.append(pixels(content, model.size, limits))
        except ImageError as fault:
            outcomes.append(Outcome(one, fault=fault))
        else:
            outcomes.append(Outcome(one, content=content if keep else b""))
    if not batch:
        return outcomes
    rows = iter(model(np.stack(batch)))
    return [
        one if one.fault else Outcome(one.input, next(rows), None, one.content) for one in outcomes
    ]


def refusals(inputs: Sequence[Input], limits: Limits) -> Iterator[Outcome]:
    """Yield the inputs whose bytes cannot be read, without any model."""
    for one in inputs:
        try:
            read(one, limits)
        except ImageError as fault:
            yield Outcome(one, fault=fault)

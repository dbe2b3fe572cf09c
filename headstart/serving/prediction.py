"""Run images through a model: read, decode and pass them in threads, in the order of the inputs.

Worker threads do everything that takes time and the calling thread takes the results, so memory
holds a few images however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from headstart._utils.errors import ImageError
from headstart._utils.machine import cores
from headstart._utils.threads import in_threads
from headstart.images.dark import Depth, unfit_depth
from headstart.images.decode import Limits
from headstart.images.resize import pixels
from headstart.serving.inputs import Input, read
from headstart.serving.models import Floats, Model

#: Threads if addresses are among the inputs: these wait for servers instead of computing.
_REMOTE_WORKERS = 8


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item]):
    """The outcome of one input.

    Attributes
    ----------
    input : object
        The input itself.
    output : ndarray, float32, or None
        The model's output; None if the input could not be read.
    fault : ImageError or None
        The reason it could not be read.
    content : bytes
        The file's bytes, if they were to be kept.
    depth : Depth or None
        The bits of a 16-bit image, if it is nearly black or cut.
    """

    input: Item
    output: Floats | None = None
    fault: ImageError | None = None
    content: bytes = b""
    depth: Depth | None = None


def predict(
    model: Model, inputs: Sequence[Input], limits: Limits, *, keep: bool = False
) -> Iterator[Outcome[Input]]:
    """Yield one outcome for each input, in their order.

    Parameters
    ----------
    model : Model
    inputs : sequence of Input
    limits : Limits
        Limits of accepted images.
    keep : bool
        Keep the files' bytes in the outcomes.
    """
    workers = _REMOTE_WORKERS if any(one.remote for one in inputs) else 1
    reading = partial(read, limits=limits)
    return run(model, inputs, reading, limits, workers=workers, keep=keep)


def run(
    model: Model,
    items: Iterable[Item],
    reading: Callable[[Item], bytes],
    limits: Limits,
    *,
    workers: int = 1,
    keep: bool = False,
) -> Iterator[Outcome[Item]]:
    """Yield one outcome for each item, whose bytes ``reading`` returns; see :func:`predict`.

    Parameters
    ----------
    workers : int
        The least number of threads; there is one for each core.
    """
    bits = model.gray16_bits

    def outcomes(chunk: Sequence[Item]) -> list[Outcome[Item]]:
        found: list[Outcome[Item]] = []
        batch = []
        for item in chunk:
            try:
                content = reading(item)
                batch.append(pixels(content, model.size, limits, gray16_bits=bits))
            except ImageError as fault:
                found.append(Outcome(item, fault=fault))
            else:
                depth = unfit_depth(content, limits, bits)
                found.append(Outcome(item, content=content if keep else b"", depth=depth))
        rows = iter(model(np.stack(batch)) if batch else ())
        return [one if one.fault else replace(one, output=next(rows)) for one in found]

    workers = max(cores(), model.calls, workers)
    # A few tasks per worker keep all of them busy although results are taken in order, and bound
    # the memory.
    chunks = _batched(items, model.batch)
    for _, found in in_threads(outcomes, chunks, workers=workers, window=4 * workers):
        yield from found


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of up to ``size`` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk

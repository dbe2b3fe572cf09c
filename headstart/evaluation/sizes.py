"""A classifier's networks for several sizes of images, on the same images: answers and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.progress import Progress
from headstart.features.forward_passes import Reader
from headstart.images.resize import pixels

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Run = Callable[[Pixels], Floats]


@dataclass(frozen=True)
class Network:
    """A classifier for images of one size.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    run : callable
        At most ``batch`` images, uint8 (n, size, size, 3), to probabilities, float32
        (n, n_classes); several threads may call it at once.
    timed : callable
        The same, to be timed: by LiteRT on one thread.
    batch : int
        Images that a call should have.
    calls : int
        Calls that run at the same time.
    """

    size: int
    run: Run
    timed: Run
    batch: int
    calls: int


@dataclass(frozen=True)
class Durations:
    """Milliseconds an image, the medians: to decode and resize it, and to run the network."""

    decoding: float
    network: float

    @property
    def together(self) -> float:
        """Both."""
        return self.decoding + self.network


def probabilities(network: Network, rows: pd.DataFrame, reader: Reader, bar: Progress) -> Floats:
    """What a network says of images, decoded to its size.

    Parameters
    ----------
    network : Network
    rows : DataFrame
        Rows of a manifest, in the order of the result.
    reader : Reader
    bar : Progress
        Counts the images.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
    """
    columns = (rows[name].tolist() for name in ("shard", "offset", "bytes", "image_id"))
    places = list(zip(*columns, strict=True))

    def classify(start: int) -> Floats:
        chunk = places[start : start + network.batch]
        return network.run(np.stack([pixels(reader.read(*place), network.size) for place in chunk]))

    found = []
    with ThreadPoolExecutor(network.calls, thread_name_prefix="sizes") as executor:
        for part in executor.map(classify, range(0, len(places), network.batch)):
            found.append(part)
            bar.update(len(part))
    return np.concatenate(found)


def durations(networks: Sequence[Network], contents: Sequence[bytes]) -> Mapping[int, Durations]:
    """How long each network takes, on one thread of ours, by size.

    The networks take turns on each image, so that whatever else the machine does meanwhile is
    done to all of them; medians leave out what was done to one.

    Parameters
    ----------
    networks : sequence of Network
        Of one batch.
    contents : sequence of bytes
        Files of images.
    """
    batch = networks[0].batch
    spent: dict[int, list[tuple[float, float]]] = {network.size: [] for network in networks}
    for start in range(-batch, len(contents), batch):
        chunk = contents[max(start, 0) : max(start, 0) + batch]
        for network in networks:
            begun = time.perf_counter()
            decoded = np.stack([pixels(content, network.size) for content in chunk])
            ready = time.perf_counter()
            network.timed(decoded)
            done = time.perf_counter()
            if start >= 0:  # The first round warms up.
                spent[network.size].append(
                    ((ready - begun) / len(chunk), (done - ready) / len(chunk))
                )
    return {
        size: Durations(*(1000 * float(value) for value in np.median(seconds, axis=0)))
        for size, seconds in spent.items()
    }

"""Compare a classifier at several image sizes: predictions, time per image, and a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.progress import Progress
from headstart._utils.tables import columns
from headstart.evaluation.comparison import Paired, p_text
from headstart.evaluation.metrics import percent, wilson_interval
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
    gray16_bits : int or None
        Bits of white in 16-bit gray images.
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
    gray16_bits: int | None
    run: Run
    timed: Run
    batch: int
    calls: int


@dataclass(frozen=True)
class Durations:
    """Median milliseconds per image: to decode and resize it, and to run the network."""

    decoding: float
    network: float

    @property
    def total(self) -> float:
        """Decoding and network together."""
        return self.decoding + self.network


def probabilities(network: Network, rows: pd.DataFrame, reader: Reader, bar: Progress) -> Floats:
    """Return the probabilities that a network gives images, decoded to its size.

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
        return network.run(_decoded([reader.read(*place) for place in chunk], network))

    found = []
    with ThreadPoolExecutor(network.calls, thread_name_prefix="sizes") as executor:
        for part in executor.map(classify, range(0, len(places), network.batch)):
            found.append(part)
            bar.update(len(part))
    return np.concatenate(found)


def _decoded(contents: Sequence[bytes], network: Network) -> Pixels:
    bits = network.gray16_bits
    return np.stack([pixels(content, network.size, gray16_bits=bits) for content in contents])


def durations(networks: Sequence[Network], contents: Sequence[bytes]) -> Mapping[int, Durations]:
    """Time each network on one thread; return the durations by size.

    The networks take turns on each image, so that other load on the machine slows all of them
    down; medians leave out a delay that hits only one.

    Parameters
    ----------
    networks : sequence of Network
        Of one batch.
    contents : sequence of bytes
        Image files.
    """
    batch = networks[0].batch
    spent: dict[int, list[tuple[float, float]]] = {network.size: [] for network in networks}
    for start in range(-batch, len(contents), batch):
        chunk = contents[max(start, 0) : max(start, 0) + batch]
        for network in networks:
            begun = time.perf_counter()
            decoded = _decoded(chunk, network)
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


@dataclass(frozen=True)
class AtSize:
    """The result of a classifier at one size.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    correct, images : int
        Test images that it classifies correctly, and all of them.
    durations : Durations
    paired : Paired or None
        The trained size first, this one second; None at the trained size.
    """

    size: int
    correct: int
    images: int
    durations: Durations
    paired: Paired | None

    def values(self, trained: AtSize) -> dict[str, Any]:
        """Return the row for programs; entries that compare are None at the trained size."""
        low, high = wilson_interval(self.correct, self.images)
        accuracy, pairs = self.correct / self.images, self.paired
        return {
            "size": self.size,
            "images": self.images,
            "correct": self.correct,
            "accuracy": accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "difference": pairs and accuracy - trained.correct / trained.images,
            "only_trained_size_correct": pairs and pairs.first_only,
            "only_this_size_correct": pairs and pairs.second_only,
            "p": pairs and pairs.test.p,
            "decoding_ms": self.durations.decoding,
            "network_ms": self.durations.network,
            "times_as_fast": trained.durations.total / self.durations.total,
        }


def values(found: Sequence[AtSize]) -> list[dict[str, Any]]:
    """Return a mapping for each size, for programs; the first size is the trained one."""
    return [each.values(found[0]) for each in found]


def csv_text(found: Sequence[AtSize]) -> str:
    """Return :func:`values` as CSV, without the last line's end."""
    table = pd.DataFrame(values(found), dtype=object)
    return str(table.to_csv(index=False, lineterminator="\n")).rstrip("\n")


def table(found: Sequence[AtSize]) -> str:
    """Return a row for each size, for the terminal; the first size is the trained one."""
    rows = [
        ("size", "accuracy", "95 % interval", "difference", f"only at {found[0].size}",
         "only here", "p", "decoding", "network", "times as fast"),
        *(_row(each) for each in values(found)),
    ]  # fmt: skip
    return columns(rows, "lrrrrrrrrr")


def _row(value: dict[str, Any]) -> tuple[str, ...]:
    compared = ("trained", "", "", "")
    if value["p"] is not None:
        compared = (
            f"{100 * value['difference']:+.1f} points",
            f"{value['only_trained_size_correct']:,}",
            f"{value['only_this_size_correct']:,}",
            p_text(value["p"]),
        )
    return (
        f"{value['size']}",
        percent(value["accuracy"]),
        f"{percent(value['accuracy_low'])} to {percent(value['accuracy_high'])}",
        *compared,
        f"{value['decoding_ms']:.2f} ms",
        f"{value['network_ms']:.2f} ms",
        f"{value['times_as_fast']:.1f}",
    )

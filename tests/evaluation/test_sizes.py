from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from headstart._utils.progress import Progress
from headstart.evaluation import sizes
from headstart.evaluation.comparison import Paired, mcnemar
from headstart.evaluation.metrics import wilson_interval
from headstart.evaluation.sizes import (
    AtSize,
    Durations,
    Floats,
    Network,
    Pixels,
    csv_text,
    durations,
    probabilities,
    table,
    values,
)
from tests.images.made import encoded, pixels
from tests.stages.small_run import image


class Memory:
    """Images in memory, by their place in a list."""

    def __init__(self, count: int) -> None:
        self.contents = [encoded(image(n % 3, n), "PNG") for n in range(count)]
        self.rows = pd.DataFrame(
            {"shard": 0, "offset": range(count), "bytes": 1, "image_id": [""] * count}
        )

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        return self.contents[offset]


def means(size: int) -> Callable[[Pixels], Floats]:
    def run(batch: Pixels) -> Floats:
        assert batch.shape[1:] == (size, size, 3)
        return np.asarray(batch.mean(axis=(1, 2)), np.float32)

    return run


@pytest.mark.parametrize("batch", [1, 4])
def test_each_image_is_decoded_to_the_networks_size_and_keeps_its_row(batch: int) -> None:
    memory = Memory(11)
    bar = Progress(11, "At 8 pixels", "image")
    network = Network(8, None, means(8), means(8), batch, 3)
    found = probabilities(network, memory.rows, memory, bar)
    expected = [means(8)(pixels(content, 8)[None])[0] for content in memory.contents]
    assert np.array_equal(found, expected)
    assert bar.done == 11


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_sizes_take_turns_and_the_median_of_an_image_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    order: list[int] = []

    def decode(content: bytes, size: int, *, gray16_bits: int | None) -> Pixels:
        clock.now += 0.001 * size
        return np.zeros((size, size, 3), np.uint8)

    def network(size: int) -> Network:
        def run(batch: Pixels) -> Floats:
            order.append(size)
            # The first call is slow, and so is one in five: something else is using the machine.
            calls = order.count(size)
            clock.now += 9.0 if calls % 5 == 1 else 0.01 * size
            return np.zeros((len(batch), 3), np.float32)

        return Network(size, None, run, run, 1, 1)

    monkeypatch.setattr(sizes, "pixels", decode)
    found = durations([network(4), network(2)], [b""] * 10)
    assert order == [4, 2] * 11
    assert (found[4].decoding, found[4].network) == pytest.approx((4, 40))
    assert found[2].total == pytest.approx(22)


def test_time_of_a_batch_is_shared_by_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)

    def run(batch: Pixels) -> Floats:
        clock.now += 0.4
        return np.zeros((len(batch), 3), np.float32)

    stream = io.BytesIO()
    image(0, 0).save(stream, "PNG")
    found = durations([Network(8, None, run, run, 4, 1)], [stream.getvalue()] * 8)
    assert found[8].decoding == 0
    assert found[8].network == pytest.approx(100)


FOUND = [
    AtSize(224, 183, 198, Durations(1.0, 4.0), None),
    AtSize(
        128, 168, 198, Durations(0.5, 2.0), Paired(198, 198, 0, 163, 20, 5, 10, 0, mcnemar(20, 5))
    ),
]


def test_a_row_for_each_size_beside_the_trained_one() -> None:
    head, trained, small = table(FOUND).splitlines()
    assert "only at 224  only here" in head
    assert " ".join(trained.split()) == ("224 92.4 % 87.9 % to 95.4 % trained 1.00 ms 4.00 ms 1.0")
    assert " ".join(small.split()) == (
        "128 84.8 % 79.2 % to 89.2 % -7.6 points 20 5 0.004 0.50 ms 2.00 ms 2.0"
    )


def test_the_same_for_programs() -> None:
    trained, small = values(FOUND)
    low, high = wilson_interval(168, 198)
    assert small == {
        "size": 128,
        "images": 198,
        "correct": 168,
        "accuracy": 168 / 198,
        "accuracy_low": low,
        "accuracy_high": high,
        "difference": pytest.approx(-15 / 198),
        "only_trained_size_correct": 20,
        "only_this_size_correct": 5,
        "p": mcnemar(20, 5).p,
        "decoding_ms": 0.5,
        "network_ms": 2.0,
        "times_as_fast": 2.0,
    }
    assert trained["p"] is None
    assert trained["times_as_fast"] == 1
    rows = list(csv.DictReader(io.StringIO(csv_text(FOUND))))
    assert [row["size"] for row in rows] == ["224", "128"]
    assert rows[0]["p"] == ""
    assert float(rows[1]["accuracy"]) == small["accuracy"]

from __future__ import annotations

import csv
import io

import pytest

from headstart.evaluation.comparison import Paired, mcnemar
from headstart.evaluation.metrics import wilson_interval
from headstart.evaluation.sizes import Durations
from headstart.evaluation.sizes_text import AtSize, csv_text, table, values

FOUND = [
    AtSize(224, 183, 198, Durations(1.0, 4.0), None),
    AtSize(128, 168, 198, Durations(0.5, 2.0), Paired(198, 198, 163, 20, 5, 10, mcnemar(20, 5))),
]


def test_a_row_for_each_size_beside_the_trained_one() -> None:
    head, trained, small = table(FOUND).splitlines()
    assert "224 alone  it alone" in head
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
        "right": 168,
        "accuracy": 168 / 198,
        "accuracy_low": low,
        "accuracy_high": high,
        "difference": pytest.approx(-15 / 198),
        "trained_size_alone_right": 20,
        "alone_right": 5,
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

from __future__ import annotations

import pandas as pd
import pytest

from headstart.report.structure import LayerRow, division, head_rows, summary, totals, tree


def test_a_tree_with_counts() -> None:
    paths = ["pets/cat/1.jpg", "pets/cat/deep/2.jpg", "pets/dog/1.jpg", "loose.jpg"]
    assert tree("x", paths).splitlines() == [
        "x/                         4",
        "└── pets/                  3",
        "    ├── cat/               2",
        "    │   └── deep/          1",
        "    └── dog/               1",
    ]


def test_a_tree_of_many_folders_and_of_none() -> None:
    lines = tree("x", [f"c{n:02}/1.jpg" for n in range(12)], most=2).splitlines()
    assert [line.split()[-1] for line in lines] == ["12", "1", "1", "10"]
    assert "└── … and 10 more folders" in lines[-1]
    assert tree("x", []).split() == ["x/", "0"]
    assert "\\x1b" in tree("x", ["a\x1b[31m/1.jpg"])


def test_the_division_of_more_classes_than_are_shown() -> None:
    manifest = pd.DataFrame(
        {"label": ["a", "a", "b", "c"], "split": ["train", "test", "train", "validation"]}
    )
    rows = [line.split() for line in division(manifest, most=1).splitlines()]
    assert rows[1] == ["a", "1", "0", "1", "2"]
    assert rows[2][-4:] == ["1", "1", "0", "2"]
    assert rows[3] == ["all", "2", "1", "1", "4"]


def test_the_layers_of_a_head() -> None:
    layers: list[dict[str, object]] = [
        {"kind": "flatten"},
        {"kind": "batch_normalization", "epsilon": 0.001},
        {"kind": "dropout", "rate": 0.5},
        {"kind": "dense", "units": 7, "activation": "relu"},
        {"kind": "dense", "units": 2, "activation": "softmax"},
    ]
    rows = head_rows(layers, (2, 2, 3), normalizes=True)
    assert [row.shape for row in rows] == [(12,), (12,), (12,), (7,), (2,)]
    assert [row.parameters for row in rows] == [0, 48, 0, 91, 16]
    assert [row.trainable for row in rows] == [0, 24, 0, 91, 16]
    frozen = head_rows(layers, (2, 2, 3), normalizes=False)
    assert [row.trainable for row in frozen] == [0, 0, 0, 91, 16]
    assert "dropout 0.5" in summary(rows)
    assert "(n, 7)" in summary(rows)


@pytest.mark.parametrize("base", [[], [LayerRow("b", "base", (4,), 1_000, 0)]])
def test_sums(base: list[LayerRow]) -> None:
    head = [LayerRow("h", "dense", (2,), 10, 10)]
    last = totals(base, head).splitlines()[-1].split()
    assert last == ["total", f"{1_010 if base else 10:,}", "10", "1,000" if base else "0"]

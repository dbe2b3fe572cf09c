from __future__ import annotations

import pytest

from headstart.keras.networks.backbone import build_backbone
from headstart.keras.training.layers import layers_of
from headstart.report.structure import LayerRow, head_rows, totals


@pytest.mark.parametrize(
    ("name", "size", "parameters", "shape"),
    [
        ("mobilenet_v2", 224, 2_257_984, (7, 7, 1280)),  # items 1.3, 1.4 of the tutorials
        ("vgg16", 150, 14_714_688, (4, 4, 512)),  # 1.7
        ("mobilenet", 128, 3_228_864, (4, 4, 1024)),  # 4.6
    ],
)
def test_a_frozen_base(name: str, size: int, parameters: int, shape: tuple[int, ...]) -> None:
    rows = layers_of(build_backbone(name, 1.0, size), None, None, "inference")
    assert sum(row[3] for row in rows) == parameters
    assert sum(row[4] for row in rows) == 0
    assert rows[-1][2] == shape
    assert rows[0][1] == "InputLayer"


def test_what_learns_above_a_layer() -> None:
    whole = layers_of(
        build_backbone("mobilenet_v2", 0.35, 64), None, "block_16_expand", "inference"
    )
    first = next(place for place, row in enumerate(whole) if row[4])
    assert whole[first][0] == "block_16_expand"
    assert all(not row[4] for row in whole if row[1] == "BatchNormalization")
    learning = layers_of(build_backbone("mobilenet_v2", 0.35, 64), None, "block_16_expand", "train")
    normalizing = [row for row in learning[first:] if row[1] == "BatchNormalization"]
    assert normalizing
    assert all(row[4] == row[3] // 2 for row in normalizing)


def test_a_layer_that_learns_alone() -> None:
    rows = layers_of(
        build_backbone("mobilenet", 0.25, 64), None, "conv_pw_12", "inference", alone=True
    )
    assert [(row[0], row[4]) for row in rows if row[4]] == [("conv_pw_12", 128 * 256)]


def test_a_cut_base() -> None:
    rows = layers_of(build_backbone("vgg16", 1.0, 64), "block3_pool", None, "inference")
    assert rows[-1][0] == "block3_pool"
    assert rows[-1][2] == (8, 8, 256)


def test_the_head_of_102_fruits() -> None:
    head = head_rows(
        [{"kind": "dense", "units": 102, "activation": "sigmoid"}], (1024,), normalizes=True
    )
    base = [LayerRow("mobilenet", "base", (1024,), 3_228_864, 0)]
    last = totals(base, head).splitlines()[-1].split()
    assert last == ["together", "3,333,414", "104,550", "3,228,864"]  # item 4.7

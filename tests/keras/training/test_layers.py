from __future__ import annotations

import numpy as np
import pytest

from headstart.keras.networks.backbone import build_backbone
from headstart.keras.training.layers import layers_of, nodes_of, split
from headstart.report.structure import LayerRow, head_rows, totals
from headstart.training.unfreezing import Cut, choose, valid_cuts


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
    assert last == ["total", "3,333,414", "104,550", "3,228,864"]  # item 4.7


@pytest.mark.parametrize(
    ("name", "size", "last_two"),
    [
        ("mobilenet_v2", 32, Cut("block_14_add", "block_15_expand", 0)),
        ("mobilenet", 32, Cut("conv_pw_11_relu", "conv_pad_12", 0)),
    ],
)
def test_lower_and_upper_are_the_base(name: str, size: int, last_two: Cut) -> None:
    base = build_backbone(name, 0.5 if "mobilenet" in name else 1.0, size)
    nodes = nodes_of(base)
    assert [node.name for node in nodes] == [layer.name for layer in base.layers]
    assert [node.name for node in nodes if node.learns] == [
        layer.name for layer in base.layers if layer.weights
    ]
    normalizing = {node.name for node in nodes if node.normalizes}
    assert {name.rpartition("_")[2].lower() for name in normalizing} <= {"bn", "conv1"}
    assert len(normalizing) == sum("gamma" in weight.path for weight in base.weights)
    cut = choose(nodes, "block", 2)
    assert cut == last_two
    pixels = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    whole = np.asarray(base(pixels, training=False))
    lower, upper = split(base, cut)
    assert lower is not None
    assert np.array_equal(np.asarray(upper(lower(pixels, training=False), training=False)), whole)
    assert split(base, Cut(None, nodes[1].name, 0))[0] is None


@pytest.mark.slow
def test_a_shortcut_without_a_block_name_belongs_to_its_block() -> None:
    nodes = nodes_of(build_backbone("xception", 1.0, 71))
    cut = choose(nodes, "block", 2)
    assert cut == Cut("add_10", "block13_sepconv1_act", 0)
    names = [node.name for node in nodes]
    assert names.index("conv2d_3") > names.index("add_10")


def test_every_cut_of_a_residual_network_is_exact() -> None:
    base = build_backbone("mobilenet_v2", 0.35, 32)
    nodes = nodes_of(base)
    pixels = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    whole = np.asarray(base(pixels, training=False))
    for position in valid_cuts(nodes)[1::18]:
        cut = Cut(nodes[position].name, nodes[position + 1].name, 0)
        lower, upper = split(base, cut)
        assert lower is not None
        got = np.asarray(upper(lower(pixels, training=False), training=False))
        assert np.array_equal(got, whole), cut

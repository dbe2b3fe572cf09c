"""The table of layers: what it says of each backbone, without TensorFlow."""

from __future__ import annotations

import pytest

from headstart._utils.errors import UnfitError
from headstart.backbones.layers import (
    TABLE,
    Node,
    fit_cut,
    known_layers,
    layers_text,
    up_to,
)
from headstart.backbones.registry import BACKBONES, HUB

BRANCHES = [
    Node("in", (), learns=False),
    Node("left", ("in",)),
    Node("right", ("in",), normalizes=True),
    Node("sum", ("left", "right"), learns=False),
    Node("out", ("sum",)),
]


def test_every_backbone_has_its_layers_and_the_file_is_canonical() -> None:
    tables = {name: known_layers(name) for name in BACKBONES}
    assert all(tables.values())
    assert layers_text(tables) == TABLE.read_text()
    assert known_layers(HUB) == ()


def test_what_a_layer_reads_is_counted_backward() -> None:
    text = layers_text({"net": BRANCHES})
    assert text == "net: in< left* right~<2 sum<2,1 out*\n"


def test_a_cut_leaves_the_layers_that_it_needs() -> None:
    assert [node.name for node in up_to(BRANCHES, "sum")] == ["in", "left", "right", "sum"]
    assert [node.name for node in up_to(BRANCHES, "right")] == ["in", "right"]
    assert up_to(BRANCHES, None) == BRANCHES


def test_an_unknown_cut_names_the_nearest() -> None:
    fit_cut("vgg16", "block4_pool")
    with pytest.raises(UnfitError, match=r"a layer of vgg16 or null\. Did you mean `block4_pool`"):
        fit_cut("vgg16", "block4pool")
    fit_cut(HUB, "anything")  # its layers are known when it has been loaded


@pytest.mark.parametrize(
    ("name", "alpha", "image_size"),
    [
        ("mobilenet", 0.5, 64),
        *(
            pytest.param(spec.name, alpha, size, marks=pytest.mark.slow)
            for spec in BACKBONES.values()
            for alpha, size in {
                (spec.alphas[0], spec.minimum_size + 1), (spec.alphas[-1], spec.default_size)
            }
        ),
    ],
)  # fmt: skip
def test_the_layers_are_those_of_keras(name: str, alpha: float, image_size: int) -> None:
    from tools.layers import layers_in_keras

    assert tuple(layers_in_keras(name, alpha, image_size)) == known_layers(name)

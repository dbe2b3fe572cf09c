from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError, ParameterError
from headstart.backbones.registry import BACKBONES, find

NAME = "headstart-small"


def _build(size: int | None) -> Any:
    from headstart.keras.networks.headstart_small import build_small

    return build_small(size)


@pytest.mark.parametrize("size", [32, 50, 64, 96])
def test_any_size_from_32_gives_a_map(size: int) -> None:
    side = -(-size // 16)
    assert _build(size).output_shape == (None, side, side, BACKBONES[NAME].width)


def test_it_is_compact() -> None:
    assert _build(64).count_params() == 1_388_000


def test_names_and_weights_do_not_depend_on_what_was_built_before() -> None:
    first, second = _build(64), _build(None)
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert [weight.path for weight in first.weights] == [weight.path for weight in second.weights]


def test_blocks_end_in_joins_and_can_be_unfrozen() -> None:
    from headstart.backbones.layers import Node
    from headstart.training.unfreezing import blocks, choose

    backbone = _build(64)
    nodes = [
        Node(operation.name, tuple(tensor._keras_history.operation.name for tensor in inputs))
        for operation, inputs in _read(backbone)
    ]
    assert list(blocks(nodes)) == [f"block_{number}" for number in range(1, 7)]
    assert [layer.name for layer in backbone.layers if layer.name.endswith("_add")] == [
        f"block_{number}_add" for number in range(1, 7)
    ]
    cut = choose(nodes, "block", 1)
    assert (cut.after, cut.unfrozen_from) == ("block_5_out", "block_6_1_conv")


def _read(backbone: Any) -> Any:
    for layer in backbone.layers:
        inputs = [] if layer.name == "images" else layer.input
        yield layer, inputs if isinstance(inputs, list) else [inputs]


def test_it_converts_to_the_same_function() -> None:
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks.backbone import feature_model
    from headstart.keras.networks.conversion import images, to_tflite
    from headstart.keras.networks.pretrained import draw

    backbone = _build(64)
    draw(backbone, 5)
    model = feature_model(backbone, None, "avg", BACKBONES[NAME].preprocessing)
    wanted = np.asarray(model(images(64)))
    found = LiteRTFunction(to_tflite(model))(images(64))
    assert found.shape == (16, 576)
    assert np.abs(found - wanted).max() < 1e-4 * wanted.std()


def test_weights_go_through_a_file_in_half_precision(tmp_path: Path) -> None:
    from headstart.keras.networks.headstart_small import load_npz, write_shipped

    backbone, other = _build(64), _build(32)
    write_shipped(tmp_path / "small.npz", backbone)
    assert (tmp_path / "small.npz").stat().st_size < 3_000_000
    load_npz(other, tmp_path / "small.npz")
    for one, two in zip(backbone.weights, other.weights, strict=True):
        assert np.allclose(one, two, rtol=1e-3, atol=1e-6)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from headstart.keras.networks.headstart_small import load_npz, write_shipped
    from headstart.keras.runtime import keras

    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    write_shipped(tmp_path / "other.npz", other)
    with pytest.raises(CorruptFileError, match=r"other\.npz"):
        load_npz(_build(32), tmp_path / "other.npz")


def test_the_shipped_weights_load_and_are_those_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.keras.networks import headstart_small
    from headstart.keras.networks.pretrained import obtain

    given = obtain(NAME, 1.0, 64, "shipped", seed=1)
    assert not given.random_weights
    assert headstart_small.SHIPPED_SHA256 in given.origin
    wrong = tmp_path / "headstart-small.npz"
    wrong.write_bytes(headstart_small.SHIPPED.read_bytes()[:-1])
    monkeypatch.setattr(headstart_small, "SHIPPED", wrong)
    with pytest.raises(CorruptFileError, match=f"expected sha256 {headstart_small.SHIPPED_SHA256}"):
        headstart_small.load_shipped(given.backbone)


def test_each_backbone_knows_whose_weights_it_takes() -> None:
    find(NAME, 1.0, 64, "shipped")
    find("vgg16", 1.0, 64, "imagenet")
    with pytest.raises(ParameterError, match=r"must be shipped, random.*Got 'imagenet'"):
        find(NAME, 1.0, 64, "imagenet")
    with pytest.raises(ParameterError, match=r"must be imagenet, random.*for headstart-small"):
        find("vgg16", 1.0, 64, "shipped")

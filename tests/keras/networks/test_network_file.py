"""Backbones from files in each format: the features of the original, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.files import sha256_file, write_json
from headstart.backbones.network_record import NetworkRecord, read_network_record
from headstart.keras.networks import network_file, pretrained
from headstart.keras.networks.backbone import feature_model
from headstart.keras.networks.conversion import images
from headstart.keras.networks.originals import run_original
from headstart.keras.runtime import keras, tf
from tests.keras.networks import network_files

PIXELS = images(network_files.SIDE)
SCALED = PIXELS.astype(np.float32) / np.float32(127.5) - np.float32(1)


def built(path: Path) -> keras.Model:
    record, network = read_network_record(path)
    return network_file.build_network(record, network_file.open_network(network, record.output))


def changed(path: Path, **values: Any) -> Path:
    """Write another record beside a network."""
    record = {**json.loads(path.read_text()), **values}
    other = path.with_name("other.json")
    write_json(other, record)
    return other


def original(record: NetworkRecord, network: Path) -> Any:
    if record.kind == "keras":
        return keras.saving.load_model(network)(SCALED, training=False)
    if record.kind == "saved_model":
        return tf.saved_model.load(str(network))(tf.constant(SCALED), training=False)
    return run_original(record, network, SCALED)


@pytest.mark.parametrize("kind", network_files.MAKERS)
def test_its_features_are_those_of_the_original(kind: str, tmp_path: Path) -> None:
    path, record = network_files.recorded(network_files.MAKERS[kind](tmp_path))
    assert (record.kind, record.image_size, record.feature_shape) == (kind, 32, (24,))
    backbone = built(path)
    expected = np.asarray(original(record, tmp_path / record.file))
    np.testing.assert_allclose(backbone(PIXELS.astype(np.float32)), expected, atol=2e-5)
    assert expected.std(axis=0).mean() > 0.01


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_a_map_comes_with_its_channels_last(kind: str, tmp_path: Path) -> None:
    path, record = network_files.recorded(network_files.MAKERS[kind](tmp_path, pooled=False))
    assert record.feature_shape == (8, 8, 24)
    expected = np.asarray(original(record, tmp_path / record.file))
    np.testing.assert_allclose(built(path)(PIXELS.astype(np.float32)), expected, atol=2e-5)


def test_scale_offset_and_color_order_are_those_of_the_record(tmp_path: Path) -> None:
    network = network_files.keras_file(tmp_path)
    path, record = network_files.recorded(network, "caffe")
    assert (record.color_order, record.scale) == ("bgr", (1.0, 1.0, 1.0))
    means = np.array(record.offset, np.float32)
    blue_first = PIXELS[..., ::-1].astype(np.float32) + means
    expected = keras.saving.load_model(network)(blue_first, training=False)
    np.testing.assert_allclose(built(path)(PIXELS.astype(np.float32)), expected, rtol=1e-4)


@pytest.mark.parametrize("tokens", ["first", "mean"])
def test_tokens_become_a_vector(tokens: str, tmp_path: Path) -> None:
    network = network_files.onnx_file(tmp_path, tokens=True, shape=(1, 3, 32, 32))
    with pytest.raises(HeadstartError, match="--tokens first"):
        network_files.recorded(network)
    path, record = network_files.recorded(network, tokens=tokens)
    rows = run_original(record, network, SCALED)
    expected = rows[:, 0] if tokens == "first" else rows.mean(axis=1)
    assert record.feature_shape == (24,)
    np.testing.assert_allclose(built(path)(PIXELS.astype(np.float32)), expected, atol=2e-5)


def test_the_copy_is_what_is_checked_and_built(tmp_path: Path) -> None:
    path, record = network_files.recorded(network_files.onnx_file(tmp_path / "own"))
    digest = sha256_file(path)
    found, folder_digest = pretrained.from_file(path, digest, "none", tmp_path / "copy")
    assert (found.weights, found.license) == ("own.onnx", "not stated")
    assert record.sha256 in found.origin
    assert str(tmp_path) not in found.origin
    again = pretrained.from_file(path, digest, "none", tmp_path / "again")[1]
    assert folder_digest == again
    with pytest.raises(ParameterError, match="must be none"):
        pretrained.from_file(path, digest, "avg", tmp_path / "pooled")
    with pytest.raises(HeadstartError, match="was changed while it was read"):
        pretrained.from_file(path, "0" * 64, "none", tmp_path / "changed")


def test_a_network_that_changed_is_not_loaded(tmp_path: Path) -> None:
    network = network_files.keras_file(tmp_path / "own")
    path, _ = network_files.recorded(network)
    network_files.keras_model(pooled=False).save(network)
    with pytest.raises(HeadstartError, match="is not the one that its record names"):
        pretrained.from_file(path, None, "none", tmp_path / "copy")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"image_size": 48}, "takes images of 32 × 32"),
        ({"feature_shape": [23]}, "gives features of shape"),
        ({"tokens": "first"}, "must be null"),
        ({"output": "nothing"}, "has no output 'nothing'"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    values: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path, _ = network_files.recorded(network_files.onnx_file(tmp_path / "own"))
    with pytest.raises(HeadstartError, match=why):
        pretrained.from_file(changed(path, **values), None, "none", tmp_path / "copy")


def test_a_translation_that_is_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.keras.networks.onnx_operations import OPERATIONS
    from headstart.keras.networks.onnx_values import Call, Value

    flatten = OPERATIONS["Flatten"]

    def off(call: Call) -> Value:
        found = flatten(call)
        assert isinstance(found, Value)
        return Value(found.tensor * 1.01)

    path, _ = network_files.recorded(network_files.onnx_file(tmp_path / "own"))
    monkeypatch.setitem(OPERATIONS, "Flatten", off)
    with pytest.raises(HeadstartError, match="is not the original"):
        pretrained.from_file(path, None, "none", tmp_path / "copy")


def test_a_keras_file_of_any_size_takes_the_recorded_one(tmp_path: Path) -> None:
    network = network_files.keras_file(tmp_path, side=None)
    with pytest.raises(ParameterError, match="--image-size"):
        network_files.recorded(network)
    path, record = network_files.recorded(network, image_size=40)
    assert record.image_size == 40
    assert built(path).input_shape == (None, 40, 40, 3)


def test_the_layers_of_a_keras_file_can_be_cut_at(tmp_path: Path) -> None:
    path, _ = network_files.recorded(network_files.keras_file(tmp_path))
    model = feature_model(built(path), "block_2_add", "avg", "none")
    assert model.output_shape == (None, 8)
    whole = keras.saving.load_model(tmp_path / "own.keras")
    lower = keras.Model(whole.input, whole.get_layer("block_2_add").output)
    expected = np.asarray(lower(SCALED, training=False)).mean(axis=(1, 2))
    np.testing.assert_allclose(model(PIXELS), expected, rtol=1e-4, atol=1e-5)

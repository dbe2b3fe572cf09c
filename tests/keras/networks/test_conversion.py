"""Conversion: the same function as Keras, the same bytes in every process, any model inside."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart.backbones.litert import LiteRTFunction
from headstart.keras.networks import conversion, prepare
from headstart.keras.networks.backbone import build_backbone, cut_at, feature_model, pool
from headstart.keras.networks.conversion import (
    TOLERANCE,
    difference_in_std,
    images,
    rounding,
    run_keras,
    to_tflite,
)
from headstart.keras.networks.pretrained import draw, obtain
from headstart.keras.runtime import keras
from tests.conftest import ROOT
from tests.keras.networks.compared import compare


@pytest.fixture(scope="module")
def backbone() -> Any:
    built = obtain("mobilenet_v2", 0.35, 64, "random", 1).backbone
    # Statistics as training leaves them: none is the constant that it starts from.
    generator = np.random.Generator(np.random.Philox(key=1))
    for layer in built.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
                values = np.asarray(weight)
                noise = generator.random(values.shape) * 0.2
                weight.assign((values * (1 + noise) + noise - 0.1 * (values == 0)).astype("f4"))
    return built


@pytest.mark.parametrize(
    ("cut", "pooling", "shape"),
    [(None, "avg", (1280,)), (None, "none", (2, 2, 1280)), ("block_5_add", "max", (16,))],
)
def test_parity(backbone: Any, cut: str | None, pooling: str, shape: tuple[int, ...]) -> None:
    model = feature_model(backbone, cut, pooling, "tf")
    function = LiteRTFunction(to_tflite(model))
    assert function.output_shape == shape
    assert function.input_dtype == np.uint8
    assert compare(model, function, images(64)) <= TOLERANCE


def test_halves_make_the_whole(backbone: Any) -> None:
    batch = images(64)
    cut = "block_12_add"
    lower = feature_model(backbone, cut, "none", "tf")
    activations = keras.Input(backbone.get_layer(cut).output.shape[1:])
    rest = keras.Model(backbone.get_layer(cut).output, backbone.output)
    upper = keras.Model(activations, pool(rest(activations, training=False), "avg"))
    halves = LiteRTFunction(to_tflite(upper))(LiteRTFunction(to_tflite(lower))(batch))
    whole = run_keras(feature_model(backbone, None, "avg", "tf"), batch)
    assert difference_in_std(whole, halves) <= TOLERANCE


@pytest.mark.parametrize("kind", ["caffe", "torch", "none"])
def test_preprocessing_is_baked_in(backbone: Any, kind: str) -> None:
    model = feature_model(backbone, "bn_Conv1", "none", kind)
    assert compare(model, LiteRTFunction(to_tflite(model)), images(64)) <= TOLERANCE


def test_a_wrong_conversion_is_noticed(backbone: Any) -> None:
    model = feature_model(backbone, None, "avg", "tf")
    other = feature_model(backbone, None, "avg", "none")
    assert compare(model, LiteRTFunction(to_tflite(other)), images(64)) > 100 * TOLERANCE


def test_differences() -> None:
    generator = np.random.Generator(np.random.Philox(key=1))
    features = generator.random((16, 8)).astype(np.float32)
    assert difference_in_std(features, features) == 0
    shifted = features + np.float32(0.01) * features.std(axis=0)
    assert 0.005 < difference_in_std(features, shifted) <= 0.0101
    broken = features.copy()
    broken[3, 3] = np.nan
    assert difference_in_std(features, broken) == float("inf")
    assert difference_in_std(features, features[:8]) == float("inf")
    dead = np.zeros((16, 8), dtype=np.float32)
    assert difference_in_std(dead, dead) == 0


def test_the_last_bits_of_the_pixels_change_features_a_little(backbone: Any) -> None:
    model = feature_model(backbone, None, "avg", "tf", "float32")
    batch = images(64)
    assert 0 < rounding(model, batch, run_keras(model, batch)) < TOLERANCE


def test_converting_leaves_the_model_as_it_was(backbone: Any) -> None:
    model = feature_model(backbone, None, "avg", "tf")
    names = [layer.name for layer in backbone.layers]
    before = run_keras(model, images(64)[:4])
    first = to_tflite(model)
    np.testing.assert_array_equal(run_keras(model, images(64)[:4]), before)
    assert [layer.name for layer in backbone.layers] == names
    assert to_tflite(model) == first


_CONVERT = """
import hashlib
from headstart.keras.runtime import keras
{before}
from headstart.keras.networks.backbone import build_backbone, feature_model
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.networks.pretrained import obtain
backbone = obtain("mobilenet_v2", 0.35, 64, "random", 42).backbone
print(hashlib.sha256(to_tflite(feature_model(backbone, None, "avg", "tf"))).hexdigest())
"""


@pytest.mark.slow
def test_fresh_processes_write_the_same_bytes() -> None:
    printed = []
    for before in ("", "keras.applications.MobileNet(weights=None)"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _CONVERT.format(before=before)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert "never trained" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        printed.append(done.stdout)
    assert len(printed[0].strip()) == 64
    assert printed[0] == printed[1]


@pytest.mark.shared
def test_imagenet_weights(imagenet_home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    found = obtain("mobilenet_v2", 1.0, 224, "imagenet", 0)
    model = feature_model(found.backbone, None, "avg", "tf")
    assert compare(model, LiteRTFunction(to_tflite(model)), images(224)) <= TOLERANCE


def test_cut_model_of_a_drawn_base_converts() -> None:
    backbone = build_backbone("mobilenet", 0.25, 32)
    draw(backbone, 1)
    model = feature_model(backbone, "conv_pw_6_relu", "avg", "tf")
    assert cut_at(backbone, "conv_pw_6_relu").output_shape[-1] == model.output_shape[-1]
    assert compare(model, LiteRTFunction(to_tflite(model)), images(32)) <= TOLERANCE


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no such operation"), HeadstartError),
        (OSError(errno.EIO, "Input/output error", "saved_model.pb"), OSError),
    ],
)
def test_a_failing_disk_is_not_taken_for_a_backbone_that_does_not_convert(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def fail(model: Any) -> bytes:
        raise error

    monkeypatch.setattr(conversion, "to_tflite", fail)
    nothing: Any = None
    with pytest.raises(expected):
        prepare._convert(nothing, nothing, "avg", nothing)

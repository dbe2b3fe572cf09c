"""Modules of TensorFlow Hub as layers of Keras 3: made here, in each format that there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.litert import LiteRTFunction
from headstart.keras.networks import hub_module
from headstart.keras.networks.backbone import feature_model
from headstart.keras.networks.conversion import TOLERANCE, images, to_tflite
from headstart.keras.networks.hub_layer import HubLayer, build_hub
from headstart.keras.networks.hub_module import load_interface
from headstart.keras.runtime import keras, tf
from tests.keras.networks import hub_modules
from tests.keras.networks.compared import compare

IMAGES = images(32)
UNIT = IMAGES.astype(np.float32) / np.float32(255)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_modules.reusable(tmp_path_factory.mktemp("hub") / "module")


def test_it_says_what_it_takes_and_what_can_learn(module: Path) -> None:
    interface = load_interface(module)
    assert interface.kind == "SavedModel of TensorFlow 2"
    assert (interface.size, interface.takes_training) == (32, True)
    assert [variable.name for variable in interface.trainable] == ["conv/kernel:0", "bn/gamma:0"]
    assert [variable.name for variable in interface.fixed] == ["bn/mean:0", "bn/variance:0"]
    assert len(interface.losses) == 1
    backbone = build_hub(module, None)
    assert (backbone.input_shape, backbone.output_shape) == ((None, 32, 32, 3), (None, 24))


def test_its_features_are_those_of_the_module(module: Path) -> None:
    ours = np.asarray(build_hub(module, 32)(UNIT, training=False))
    theirs = tf.saved_model.load(str(module))(tf.constant(UNIT), training=False)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.std(axis=0).mean() > 0


def test_its_features_are_those_of_the_keras_layer_of_tensorflow_hub(module: Path) -> None:
    import tensorflow_hub

    ours = HubLayer(load_interface(module))
    theirs = tensorflow_hub.KerasLayer(str(module), trainable=True)
    for training in (False, True):
        expected = np.asarray(theirs(tf.constant(UNIT), training=training))
        np.testing.assert_allclose(ours(UNIT, training=training), expected, atol=1e-5)
        assert expected.std(axis=0).mean() > 0
    assert len(ours.losses) == len(theirs.losses) == 1
    np.testing.assert_allclose(ours.losses[0], theirs.losses[0], rtol=1e-5)
    for own, other in (
        (ours.trainable_weights, theirs.trainable_weights),
        (ours.non_trainable_weights, theirs.non_trainable_weights),
    ):
        assert len(own) == len(other) > 0
        for left, right in zip(own, other, strict=True):
            np.testing.assert_allclose(np.asarray(left), right.numpy(), atol=1e-5)


def test_keras_holds_the_module_s_own_variables(module: Path) -> None:
    interface = load_interface(module)
    layer = HubLayer(interface)
    before = np.asarray(layer(UNIT))
    assert [w.value for w in layer.trainable_weights] == list(interface.trainable)
    layer.trainable_weights[0].assign(layer.trainable_weights[0] * 2)
    after = np.asarray(layer(UNIT))
    assert not np.array_equal(before, after)


def test_statistics_move_in_training_alone(module: Path) -> None:
    backbone = build_hub(module, 32)
    mean = backbone.get_layer("module").non_trainable_weights[0]
    before = np.asarray(mean)
    backbone(UNIT, training=False)
    np.testing.assert_array_equal(mean, before)
    backbone(UNIT, training=True)
    assert not np.array_equal(mean, before)


@pytest.mark.parametrize("training", [False, True])
def test_its_regularization_joins_the_loss_and_its_gradient(
    module: Path, *, training: bool
) -> None:
    # Fine-tuning calls the backbone as for inference unless batch normalization is to learn as
    # well.
    backbone = build_hub(module, 32)
    kernel = backbone.get_layer("module").trainable_weights[0]
    with tf.GradientTape() as tape:
        backbone(UNIT, training=training)
        (loss,) = backbone.losses
    assert float(loss) == pytest.approx(0.005 * float(np.square(kernel).sum()), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, kernel.value), 0.01 * np.asarray(kernel), 1e-5)
    backbone.trainable = False
    backbone(UNIT, training=training)
    assert backbone.losses == []


def test_a_module_that_was_never_traced_for_training_does_not_get_the_argument(
    tmp_path: Path,
) -> None:
    backbone = build_hub(hub_modules.called(tmp_path / "module", training=(False,)), None)
    assert not load_interface(tmp_path / "module").takes_training
    np.testing.assert_array_equal(backbone(UNIT, training=True), backbone(UNIT, training=False))
    assert len(backbone.trainable_weights) == 2


def test_one_that_names_few_of_its_variables_keeps_the_others(tmp_path: Path) -> None:
    module = hub_modules.called(tmp_path / "module", listed=("kernel",))
    (layer,) = build_hub(module, None).layers[1:]
    assert [weight.name for weight in layer.trainable_weights] == ["conv_kernel"]
    names = [weight.name for weight in layer.non_trainable_weights]
    assert names == ["bn_gamma", "bn_mean", "bn_variance"]
    assert np.isfinite(layer(UNIT)).all()


def test_whole_numbers_are_kept_and_never_learn(tmp_path: Path) -> None:
    interface = load_interface(hub_modules.called(tmp_path / "module", extra=np.int64(3)))
    assert "extra:0" in {variable.name for variable in interface.fixed}
    assert all(variable.dtype.is_floating for variable in interface.trainable)


def test_features_of_half_precision_are_returned_in_single(tmp_path: Path) -> None:
    module = hub_modules.called(tmp_path / "module", gives="bfloat16")
    assert np.asarray(build_hub(module, None)(UNIT)).dtype == np.float32


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shape": (1, 32, 32, 3)}, r"float32 of shape \(1, 32, 32, 3\); any number"),
        ({"shape": (None, 32, 48, 3)}, r"shape \(None, 32, 48, 3\); any number of square"),
        ({"takes": "uint8"}, "takes uint8 of shape"),
        ({"extra": "text"}, "holds the text extra:0"),
        ({"table": True}, "holds a lookup table"),
    ],
)
def test_unfit_modules_are_reported_before_they_run(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(HeadstartError, match=told):
        load_interface(hub_modules.called(tmp_path / "module", **options))


def test_the_reason_of_a_failed_call_is_reported_without_the_advice_of_keras(
    tmp_path: Path,
) -> None:
    module = hub_modules.called(tmp_path / "module", training=())
    with pytest.raises(HeadstartError) as caught:
        build_hub(module, 32)
    assert "does not take images of 32 × 32: Found zero restored functions" in str(caught.value)
    assert "HubLayer" not in str(caught.value)


MADE: dict[str, Callable[[Path], Path]] = {
    "vector": hub_modules.reusable,
    "any size": lambda path: hub_modules.reusable(path, None),
    "map": lambda path: hub_modules.reusable(path, pooled=False),
    "signature": hub_modules.signature_alone,
    "older format": hub_modules.old_format,
}


@pytest.mark.parametrize("kind", list(MADE))
def test_every_kind_converts_to_the_same_function(kind: str, tmp_path: Path) -> None:
    backbone = build_hub(MADE[kind](tmp_path / "module"), 32)
    pooling = "avg" if kind == "map" else "none"
    model = feature_model(backbone, None, pooling, "unit")
    assert model.output_shape == (None, 24)
    network = to_tflite(model)
    assert compare(model, LiteRTFunction(network), IMAGES) <= TOLERANCE


@pytest.mark.parametrize("kind", ["signature", "older format"])
def test_others_give_features_only(kind: str, tmp_path: Path) -> None:
    interface = load_interface(MADE[kind](tmp_path / "module"))
    assert "features only" in interface.kind
    assert interface.trainable == ()
    assert interface.size == 32
    assert build_hub(tmp_path / "module", None).trainable_weights == []


def test_a_size_that_does_not_fit_is_reported(module: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"must be 32, or null.*Got 48"):
        build_hub(module, 48)
    anything = hub_modules.reusable(tmp_path / "any", None)
    with pytest.raises(ParameterError, match=r"must be an integer.*Got null"):
        build_hub(anything, None)
    assert build_hub(anything, 48).input_shape == (None, 48, 48, 3)


MAKE_BAD: dict[str, Callable[[Path], Path]] = {
    "ReadFile": hub_modules.reads_files,
    "Print": lambda path: hub_modules.called(path, prints=True),
}


@pytest.mark.parametrize("operation", list(MAKE_BAD))
def test_a_graph_that_reaches_for_files_is_not_loaded(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = MAKE_BAD[operation](tmp_path / "module")
    monkeypatch.setattr(hub_module, "load_module", _never)
    with pytest.raises(HeadstartError, match=f"its graph holds {operation}"):
        load_interface(module)


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("it was loaded")


def test_folders_that_are_not_modules_are_reported(module: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no protocol buffer \xff\xff")
    with pytest.raises(HeadstartError, match=r"saved_model\.pb"):
        load_interface(broken)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "saved_model.pb").write_bytes((module / "saved_model.pb").read_bytes())
    with pytest.raises(HeadstartError, match="cannot load"):
        load_interface(lonely)
    other = hub_modules.signature_alone(tmp_path / "other", name="classify")
    with pytest.raises(HeadstartError, match="`serving_default`; its signatures: classify"):
        load_interface(other)


def test_a_copied_variable_would_be_noticed(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interface = load_interface(module)
    made = keras.Variable
    monkeypatch.setattr(
        keras, "Variable", lambda variable, **options: made(np.asarray(variable), **options)
    )
    with pytest.raises(RuntimeError, match="copied"):
        HubLayer(interface)

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from headstart._utils.disk import amount
from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.record import WEIGHTS, BackboneRecord
from headstart.keras.networks.backbone import build_backbone
from headstart.keras.runtime import keras
from headstart.keras.training import tuner as tuning
from headstart.keras.training.head import build_head, dump_head
from headstart.keras.training.layers import freeze, stop_dropout
from headstart.keras.training.tuner import Tuner
from headstart.training.batches import BatchSource
from headstart.training.head import apply_head
from headstart.training.parameters import Tuning
from tests.stages.sections import augment
from tests.training import models

SIZE = 32
HEAD = [
    {"kind": "dropout", "rate": 0.2},
    {"kind": "dense", "units": 3, "activation": "softmax"},
]
RECORD = models.backbone(image_size=SIZE, tflite_sha256=None, parity=None)


def params(**changes: Any) -> Tuning:
    return Tuning(
        **{
            "epochs": 1,
            "unfreeze_by": "block",
            "unfreeze": 1,
            "batch_norm": "inference",
            "optimizer": "adam",
            "learning_rate": 0.001,
            "learning_rate_schedule": "constant",
            "weight_decay": 0.0,
            "batch_size": 8,
            "early_stopping_patience": None,
            "augment": augment(),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("backbone")
    build_backbone("mobilenet_v2", 0.35, SIZE).save_weights(str(path / WEIGHTS))
    return path


def tuner(folder: Path, record: BackboneRecord = RECORD, **changes: Any) -> Tuner:
    weights = dump_head(build_head(HEAD, record.feature_shape, seed=3))
    return Tuner(record, folder, params(**changes), HEAD, weights, seed=3)


def train(tuner: Tuner) -> None:
    rng = np.random.default_rng(0)
    shape = tuner.model.upper.input_shape[1:]
    inputs = rng.normal(size=(16, *shape)).astype(np.float32)
    source = BatchSource.of_array(inputs, np.arange(16) % 3)
    tuner.fit(source, source, seed=5)


def test_the_class_weights_of_the_head_go_on(folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 13 + [1] * 2 + [2])
    found: dict[str, Any] = {}
    choices: tuple[Literal["none", "balanced"], ...] = ("none", "balanced")
    for weights in choices:
        made = tuner(folder)
        inputs = rng.normal(size=(16, *made.model.upper.input_shape[1:])).astype(np.float32)
        source = BatchSource.of_array(inputs, labels)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tuning, "fit", lambda *given, **_: given[-1])
            found[weights] = made.fit(source, source, 5, weights)
    assert found["none"].class_weights is None
    assert found["balanced"].class_weights == pytest.approx(16 / (3 * np.array([13, 2, 1])))


def test_a_cosine_rate_rises_for_an_epoch_and_falls_to_nothing(folder: Path) -> None:
    made = tuner(folder, learning_rate_schedule="cosine", epochs=3, learning_rate=0.01)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(16, *made.model.upper.input_shape[1:])).astype(np.float32)
    source = BatchSource.of_array(inputs, np.arange(16) % 3)
    rates = made.fit(source, source, 5).epochs["learning_rate"]
    # The last of the two steps of each epoch: half of the way up, then along the cosine.
    assert rates.to_numpy() == pytest.approx([0.005, 0.00854, 0.00146], abs=1e-4)


def test_a_head_of_one_output_is_tuned_from_its_logit(folder: Path) -> None:
    one = [{"kind": "dense", "units": 1, "activation": "sigmoid"}]
    weights = dump_head(build_head(one, (1280,), seed=3))
    made = Tuner(RECORD, folder, params(optimizer="rmsprop", epochs=2), one, weights, seed=3)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(16, *made.model.upper.input_shape[1:])).astype(np.float32)
    labels = np.array([0] * 12 + [1] * 4)
    source = BatchSource.of_array(inputs, labels)
    history = made.fit(source, source, 5, "balanced")
    assert history.epochs["val_loss"].iloc[-1] < history.epochs["val_loss"].iloc[0]
    both = made.probabilities(inputs)
    assert both.shape == (16, 2)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    own = np.log(both[np.arange(16), labels])
    assert history.epochs["val_loss"].iloc[-1] == pytest.approx(-own.mean(), rel=1e-4)
    features = LiteRTFunction(made.upper_network())(inputs)
    assert np.abs(apply_head(one, made.head_weights(), features) - both).max() < 1e-4


@pytest.mark.parametrize("part", ["frozen part", "trained part"])
def test_a_part_that_does_not_convert_is_reported(
    folder: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> bytes:
        raise RuntimeError("no such operation: FlexErfc\nand many lines more")

    monkeypatch.setattr(tuning, "to_tflite", refuse)
    made = tuner(folder)
    convert = made.lower_network if part == "frozen part" else made.upper_network
    with pytest.raises(HeadstartError) as caught:
        convert()
    said = str(caught.value)
    for words in (part, "FlexErfc", "trained head are kept", "`fine_tune.epochs: 0`"):
        assert words in said
    assert "many lines" not in said


def test_a_base_that_nobody_converted_is_tried_before_the_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(tuning, "to_tflite", tried.append)
    tuner(folder).check_convertible()
    assert not tried
    tuner(folder, RECORD.model_copy(update={"engine": "keras"})).check_convertible()
    assert len(tried) == 1


def test_the_order_of_colors_is_no_weight_that_learns(folder: Path) -> None:
    caffe = RECORD.model_copy(update={"preprocessing": "caffe"})
    made = tuner(folder, caffe, unfreeze_by="index", unfreeze=0, weight_decay=0.1)
    scaled = tuner(folder, unfreeze_by="index", unfreeze=0)
    assert made.cut.after is None
    assert made.trained_parameters() == scaled.trained_parameters()
    entry = made.model.entry
    assert entry is not None
    before = [np.array(weight) for weight in entry.weights]
    assert [weight.shape for weight in before] == [(1, 1, 3, 3)]
    assert changed(made)
    np.testing.assert_array_equal(entry.weights[0], before[0])


def values(tuner: Tuner) -> dict[str, np.ndarray[Any, Any]]:
    return {weight.path: np.array(weight.numpy()) for weight in tuner.backbone.weights}


def changed(tuner: Tuner) -> set[str]:
    before = values(tuner)
    train(tuner)
    after = values(tuner)
    return {name for name in before if not np.array_equal(before[name], after[name])}


def test_with_inference_no_statistic_moves_and_only_the_top_learns(folder: Path) -> None:
    moved = changed(tuner(folder))
    assert moved
    assert all(name.startswith(("block_16_", "Conv_1/")) for name in moved)
    assert not any("BN" in name or "_bn" in name or "moving" in name for name in moved)


def test_with_train_statistics_move_but_not_below_what_was_asked_for(folder: Path) -> None:
    low = tuner(folder, unfreeze_by="layer", unfreeze="block_15_project", batch_norm="train")
    assert low.cut.after == "block_14_add"
    assert low.cut.frozen_above > 0
    assert "stay frozen" in low.describe()
    moved = changed(low)
    assert {"block_16_project_BN/moving_mean", "Conv_1_bn/moving_variance"} <= moved
    assert all(name.startswith(("block_15_project", "block_16_", "Conv_1")) for name in moved)


@pytest.mark.parametrize("what", ["block_14_depthwise", 128])
def test_a_single_layer_learns_and_all_else_stays_as_it_was(folder: Path, what: str | int) -> None:
    made = tuner(folder, unfreeze_by="only", unfreeze=what)
    assert made.cut.after == "block_13_project_BN"  # Block 14 joins what goes around it.
    assert made.cut.frozen_above == 3
    assert "of block_14_depthwise and no other layer" in made.describe()
    assert made.trained_parameters() == 9 * 336 + 1280 * 3 + 3
    head = made.head_weights()
    assert changed(made) == {"block_14_depthwise/kernel"}
    assert all(not np.array_equal(head[name], now) for name, now in made.head_weights().items())


def test_batch_normalization_alone_moves_its_statistics_and_no_others(folder: Path) -> None:
    with pytest.raises(ParameterError, match="Conv_1_bn is batch normalization"):
        tuner(folder, unfreeze_by="only", unfreeze="Conv_1_bn")
    made = tuner(folder, unfreeze_by="only", unfreeze="block_16_expand_BN", batch_norm="train")
    kinds = ("gamma", "beta", "moving_mean", "moving_variance")
    assert changed(made) == {f"block_16_expand_BN/{kind}" for kind in kinds}


def test_dropout_of_frozen_layers_is_still_beside_a_single_one_that_learns() -> None:
    pixels = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(8, 1, name="one")(pixels)
    x = keras.layers.BatchNormalization(name="two")(x)
    base = keras.Model(pixels, keras.layers.Dropout(0.9, seed=1, name="three")(x))
    inputs = np.ones((1, 4, 4, 3), np.float32)
    names = [weight.path for weight in base.weights]
    expected = np.asarray(base(inputs, training=False))
    freeze(base, ["one"], "train")
    assert not np.array_equal(np.asarray(base(inputs, training=True)), expected)
    stop_dropout(base, ["one"])
    np.testing.assert_array_equal(np.asarray(base(inputs, training=True)), expected)
    assert [weight.path for weight in base.weights] == names


@pytest.mark.parametrize(
    ("by", "what", "first"),
    [
        ("index", 151, "Conv_1"),
        ("count", 3, "Conv_1"),
        ("block", 1, "block_16_expand"),
        ("count", 154, "Conv1"),
    ],
)
def test_what_is_unfrozen(folder: Path, by: str, what: str | int, first: str) -> None:
    chosen = tuner(folder, unfreeze_by=by, unfreeze=what)
    assert chosen.cut.unfrozen_from == first
    names = [layer.name for layer in chosen.backbone.layers]
    for layer in chosen.backbone.layers:
        expected = names.index(layer.name) >= names.index(first)
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable == (expected and not normalizes)


@pytest.mark.parametrize(
    ("changes", "cut", "features"),
    [
        ({}, None, 1280),
        ({"unfreeze": 2}, "block_12_add", 576),  # The backbone ends inside of block 13.
        ({"unfreeze_by": "index", "unfreeze": 0}, None, 1280),
    ],
)
def test_the_converted_parts_are_the_trained_model(
    folder: Path, changes: dict[str, Any], cut: str | None, features: int
) -> None:
    name = "block_13_expand_relu" if cut else None
    width = 192 if cut else features
    record = RECORD.model_copy(update={"cut": name, "feature_shape": (width,)})
    made = tuner(folder, record, **changes)
    pixels = np.random.default_rng(1).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    network = made.lower_network()
    inputs = pixels if network is None else LiteRTFunction(network)(pixels)
    if not changes:  # Training is the same for all of them, and takes seconds.
        source = BatchSource.of_array(inputs, np.arange(6) % 3)
        made.fit(source, source, seed=5)
    upper = LiteRTFunction(made.upper_network())
    assert upper.output_shape == (width,)
    ours = apply_head(HEAD, made.head_weights(), upper(inputs))
    assert np.abs(ours - made.probabilities(inputs)).max() < 1e-4


def test_a_cut_whose_cache_saves_nothing_is_reported_with_what_it_takes(folder: Path) -> None:
    low = tuner(folder, unfreeze_by="block", unfreeze=16)
    said = low.warning(1_000)
    assert said is not None
    assert f"the output of {low.cut.after} saves only" in said
    values = int(np.prod(low.model.upper.input_shape[1:]))
    assert f"{amount(4 * values)} per image: {amount(4000 * values)}" in said
    assert tuner(folder).warning(1_000) is None
    assert tuner(folder, unfreeze_by="index", unfreeze=0).warning(1_000) is None


def test_probabilities_are_computed_in_parts(folder: Path) -> None:
    made, given = tuner(folder), []
    inputs = np.zeros((19, *made.model.upper.input_shape[1:]), np.float32)
    whole = np.asarray(made.probabilities(inputs))
    forward = made.model

    def model(some: Any, training: bool) -> Any:
        given.append(len(some))
        return forward(some, training=training)

    made.model = model  # type: ignore[assignment]
    np.testing.assert_allclose(made.probabilities(inputs), whole)
    assert max(given) <= 8
    assert sum(given) == 19

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.keras.runtime import keras
from headstart.keras.training.head import (
    build_head,
    dump_head,
    load_head,
    logits_model,
    probabilities_of,
)
from headstart.training.head import apply_head, head_logits, head_spec, weight_shapes
from headstart.training.parameters import TrainHeadParams


def params(**changes: Any) -> TrainHeadParams:
    values: dict[str, Any] = {
        "hidden": [],
        "normalization": "batch",
        "dropout": 0.2,
        "outputs": "classes",
        "activation": "softmax",
        "loss": "categorical_crossentropy",
        "label_smoothing": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "learning_rate_schedule": "constant",
        "weight_decay": 0.0,
        "batch_size": 32,
        "epochs": 3,
        "steps_per_epoch": None,
        "early_stopping_patience": None,
        "calibration": "none",
        "class_weights": "none",
        **changes,
    }
    if values["activation"] == "sigmoid":
        values["loss"] = "binary_crossentropy"
    return TrainHeadParams(**values)


@settings(max_examples=12, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 9), max_size=2),
    normalization=st.sampled_from(["standardize", "batch", "none"]),
    dropout=st.sampled_from([0.0, 0.3]),
    activation=st.sampled_from(["softmax", "sigmoid"]),
    shape=st.sampled_from([(7,), (4, 4, 5)]),
    seed=st.integers(0, 2**63),
)
def test_numpy_computes_what_keras_computes(
    *,
    hidden: list[int],
    normalization: str,
    dropout: float,
    activation: str,
    shape: tuple[int, ...],
    seed: int,
) -> None:
    spec = head_spec(
        params(
            hidden=hidden,
            normalization=normalization,
            dropout=dropout,
            activation=activation,
        ),
        shape,
        3,
    )
    head = build_head(spec, shape, seed)
    generator = np.random.default_rng(seed)
    found = {
        name: generator.uniform(0.2, 1.5, array.shape).astype(np.float32)
        for name, array in dump_head(head).items()
    }
    load_head(head, found)
    features = generator.normal(size=(9, *shape)).astype(np.float32)
    weights = dump_head(head)
    ours = apply_head(spec, weights, features)
    # Keras rounds logits to float32: the larger they are, the coarser, and so the probabilities.
    largest = float(np.abs(head_logits(spec, weights, features)).max())
    accepted = 4 * np.finfo(np.float32).eps * max(1.0, largest)
    assert np.abs(ours - head.predict_on_batch(features)).max() < accepted


def test_a_wide_head_agrees_too() -> None:
    spec = head_spec(params(hidden=[64]), (1280,), 102)
    head = build_head(spec, (1280,), 1)
    features = np.abs(np.random.default_rng(1).normal(size=(64, 1280))).astype(np.float32)
    ours = apply_head(spec, dump_head(head), features)
    assert np.abs(ours - head.predict_on_batch(features)).max() < 1e-6


def test_the_layers_are_those_of_the_tutorial() -> None:
    # Global pooling happened in the backbone: batch normalization, dropout, Dense(2, softmax).
    assert head_spec(params(), (512,), 2) == [
        {"kind": "batch_normalization", "epsilon": 0.001, "fixed": False},
        {"kind": "dropout", "rate": 0.2},
        {"kind": "dense", "units": 2, "activation": "softmax"},
    ]
    # Dense(102, sigmoid) on a 1024-vector: 104,550 parameters.
    plain = head_spec(params(normalization="none", dropout=0.0, activation="sigmoid"), (1024,), 102)
    assert build_head(plain, (1024,)).count_params() == 104_550


@pytest.mark.parametrize("shape", [(7,), (2, 2, 3)])
def test_one_output_is_the_logit_of_the_second_class(shape: tuple[int, ...]) -> None:
    spec = head_spec(params(outputs="one", activation="sigmoid"), shape, 2)
    assert spec[-1] == {"kind": "dense", "units": 1, "activation": "sigmoid"}
    head = build_head(spec, shape, 3)
    width = int(np.prod(shape))
    # Dense(1), and batch normalization: nothing else has a weight.
    assert head.count_params() == width + 1 + 4 * width
    features = np.random.default_rng(0).normal(size=(9, *shape)).astype(np.float32)
    both = head.predict_on_batch(features)
    logits = logits_model(head).predict_on_batch(features)
    assert (both.shape, logits.shape) == ((9, 2), (9, 1))
    np.testing.assert_allclose(both[:, 1], keras.ops.sigmoid(logits[:, 0]), atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities_of(head, logits), both, atol=1e-7)
    ours = apply_head(spec, dump_head(head), features)
    assert np.abs(ours - both).max() < 1e-6
    found = head_logits(spec, dump_head(head), features)
    np.testing.assert_allclose(found, np.concatenate([0 * logits, logits], axis=1), atol=1e-5)


def test_a_head_of_one_output_goes_through_a_keras_file(tmp_path: Path) -> None:
    head = build_head(head_spec(params(outputs="one", activation="sigmoid"), (7,), 2), (7,), 3)
    head.save(tmp_path / "head.keras")
    again = keras.saving.load_model(tmp_path / "head.keras", compile=False, safe_mode=True)
    features = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    assert np.array_equal(again.predict_on_batch(features), head.predict_on_batch(features))


def test_a_map_is_flattened_in_keras_order() -> None:
    spec = head_spec(params(hidden=[8], dropout=0.5), (4, 4, 512), 2)
    assert spec[0] == {"kind": "flatten"}
    assert [layer["kind"] for layer in spec].count("dropout") == 2
    assert weight_shapes(spec, (4, 4, 512))["3.kernel"] == (8192, 8)


def test_names_and_shapes_of_the_weights_are_those_of_the_layers() -> None:
    spec = head_spec(params(hidden=[5, 4]), (2, 2, 3), 3)
    found = {name: array.shape for name, array in dump_head(build_head(spec, (2, 2, 3))).items()}
    assert found == weight_shapes(spec, (2, 2, 3))


def test_the_last_operation_is_the_activation_of_the_logits() -> None:
    head = build_head(head_spec(params(), (7,), 3), (7,))
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    logits = logits_model(head).predict_on_batch(x)
    probabilities = np.asarray(keras.ops.softmax(logits))
    np.testing.assert_allclose(head.predict_on_batch(x), probabilities, atol=1e-7)


def test_the_seed_decides_the_first_weights() -> None:
    spec = head_spec(params(), (7,), 3)
    one, same, other = (dump_head(build_head(spec, (7,), seed))["2.kernel"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_weights_of_another_head_are_not_loaded() -> None:
    head = build_head(head_spec(params(), (6,), 3), (6,))
    with pytest.raises(ValueError, match="the weights are"):
        load_head(head, {"0.kernel": np.ones((6, 3), np.float32)})

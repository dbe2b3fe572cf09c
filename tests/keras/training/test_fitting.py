from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_bytes
from headstart.keras.runtime import keras
from headstart.keras.training.fitting import fit
from headstart.keras.training.head import build_head, dump_head, load_head, logits_model
from headstart.keras.training.scoring import Scorer, at_once, score
from headstart.training.batches import BatchSource, balanced_class_weights, epoch_batches
from headstart.training.checkpoint import Checkpoint, Progress
from headstart.training.epochs import run_epochs
from headstart.training.fit_head import HeadTrainer
from headstart.training.head import LayerSpec
from headstart.training.network import Network, first_weights, statistics
from headstart.training.settings import FitSettings

WIDTH, CLASSES = 12, 3
Data = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def separable(n: int, seed: int, spread: float = 0.3) -> Data:
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(CLASSES, WIDTH))
    labels = generator.integers(0, CLASSES, n)
    x = centers[labels] + spread * generator.normal(size=(n, WIDTH))
    return x.astype(np.float32), labels


def head(activation: str = "softmax", *, dropout: float = 0.0, hidden: int = 0) -> Any:
    spec: list[dict[str, Any]] = [{"kind": "batch_normalization", "epsilon": 1e-3}]
    if dropout:
        spec.append({"kind": "dropout", "rate": dropout})
    if hidden:
        spec.append({"kind": "dense", "units": hidden, "activation": "relu"})
    spec.append({"kind": "dense", "units": CLASSES, "activation": activation})
    return build_head(spec, (WIDTH,), seed=1)


def settings(**changes: Any) -> FitSettings:
    values: dict[str, Any] = {
        "epochs": 8,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "loss": "categorical_crossentropy",
        "seed": 7,
        **changes,
    }
    return FitSettings(**values)


def quiet(_: str) -> None:
    """Say nothing."""


def source(data: Data) -> BatchSource:
    return BatchSource.of_array(*data)


@pytest.mark.parametrize(
    ("optimizer", "activation", "loss"),
    [
        ("adam", "softmax", "categorical_crossentropy"),
        ("adamw", "softmax", "categorical_crossentropy"),
        ("rmsprop", "sigmoid", "binary_crossentropy"),
        ("sgd", "softmax", "categorical_crossentropy"),
    ],
)
def test_a_separable_problem_is_learned(optimizer: str, activation: str, loss: str) -> None:
    rate = 0.3 if optimizer == "sgd" else 0.02
    model = head(activation, dropout=0.1, hidden=16)
    found = fit(
        logits_model(model),
        source(separable(300, 1)),
        source(separable(200, 2)),
        settings(optimizer=optimizer, loss=loss, learning_rate=rate),
        quiet,
    )
    last = found.epochs.iloc[-1]
    assert last["val_accuracy"] > 0.95
    assert last["val_loss"] < found.epochs["val_loss"].iloc[0]
    x, y = separable(200, 2)
    assert (model.predict_on_batch(x).argmax(axis=1) == y).mean() == last["val_accuracy"]


def test_one_step_is_the_step_of_keras() -> None:
    """The same first batch, the same optimizer: the weights that Keras' own training makes."""
    x, y = separable(16, 1)
    ours, theirs = head(), head()
    fit(logits_model(ours), source((x, y)), source((x, y)), settings(epochs=1), quiet)
    theirs.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    theirs.train_on_batch(x, y)
    for name, array in dump_head(ours).items():
        np.testing.assert_allclose(array, dump_head(theirs)[name], atol=2e-6)


def test_adamw_decays_the_weights_as_keras_does_and_no_bias() -> None:
    x, y = separable(16, 1)
    for wanted, decay in ((0.004, {}), (0.1, {"weight_decay": 0.1})):
        ours, theirs = head(), head()
        chosen = settings(epochs=1, optimizer="adamw", **decay)
        fit(logits_model(ours), source((x, y)), source((x, y)), chosen, quiet)
        optimizer = keras.optimizers.AdamW(0.02, weight_decay=wanted)
        optimizer.exclude_from_weight_decay(
            [v for v in theirs.trainable_variables if len(v.shape) < 2]
        )
        theirs.compile(optimizer, "sparse_categorical_crossentropy")
        theirs.train_on_batch(x, y)
        for name, array in dump_head(ours).items():
            np.testing.assert_allclose(array, dump_head(theirs)[name], atol=2e-6)


NORMAL: LayerSpec = {"kind": "batch_normalization", "epsilon": 1e-3, "fixed": False}
FIXED: LayerSpec = {**NORMAL, "fixed": True}
HIDDEN: LayerSpec = {"kind": "dense", "units": 8, "activation": "relu"}


def last(units: int, activation: str) -> LayerSpec:
    return {"kind": "dense", "units": units, "activation": activation}


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        ([FIXED, last(3, "softmax")], {"optimizer": "adamw", "weight_decay": 1.0,
                                       "schedule": "cosine"}),
        ([FIXED, HIDDEN, last(3, "softmax")], {"optimizer": "adam", "label_smoothing": 0.1}),
        ([NORMAL, HIDDEN, NORMAL, last(3, "softmax")], {"optimizer": "adamw"}),
        ([NORMAL, last(3, "sigmoid")], {"optimizer": "rmsprop", "label_smoothing": 0.2}),
        ([HIDDEN, last(3, "softmax")], {"optimizer": "sgd", "weight_decay": 0.3}),
        ([FIXED, HIDDEN, last(1, "sigmoid")], {"optimizer": "adam", "label_smoothing": 0.1}),
        ([last(3, "softmax")], {"class_weights": np.array([0.5, 1, 3]), "steps_per_epoch": 5}),
    ],
)  # fmt: skip
def test_a_head_is_trained_in_numpy_as_in_keras(
    spec: list[LayerSpec], changes: dict[str, Any]
) -> None:
    """The same first weights and batches end in the same weights, step by step of three epochs."""
    x, y = separable(90, 1, spread=1.5)
    y = y % 2 if spec[-1]["units"] == 1 else y
    binary = spec[-1]["activation"] == "sigmoid"
    loss = "binary_crossentropy" if binary else "categorical_crossentropy"
    chosen = settings(epochs=3, loss=loss, learning_rate=0.01, **changes)
    first = first_weights(spec, x, seed=5)
    model = build_head(spec, (WIDTH,))
    load_head(model, first)
    theirs = fit(logits_model(model), source((x, y)), source((x, y)), chosen, quiet)
    network = Network(spec, first, seed=5)
    trainer = HeadTrainer(network, (x, y), (x, y), chosen)
    ours = run_epochs(trainer, chosen, quiet, Progress())
    for name, array in dump_head(model).items():
        np.testing.assert_allclose(network.weights[name], array, atol=2e-5, err_msg=name)
    for table, keras_table in ((ours.epochs, theirs.epochs), (ours.batches, theirs.batches)):
        np.testing.assert_allclose(table.to_numpy(), keras_table.to_numpy(), rtol=1e-4, atol=1e-5)


def test_class_weights_are_those_of_keras() -> None:
    x, y = separable(16, 1)
    weights = np.array([0.5, 1.0, 3.0])
    ours, theirs = head(), head()
    fit(
        logits_model(ours),
        source((x, y)),
        source((x, y)),
        settings(epochs=1, class_weights=weights, optimizer="sgd"),
        quiet,
    )
    theirs.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
    theirs.train_on_batch(x, y, class_weight=dict(enumerate(weights)))
    for name, array in dump_head(ours).items():
        np.testing.assert_allclose(array, dump_head(theirs)[name], atol=2e-6)


def test_what_fills_up_the_last_batch_weighs_nothing() -> None:
    # 20 images in batches of 16: the first 12 fill up the second batch. Without normalization
    # (which sees them), the result is that of a second batch of 4.
    x, y = separable(20, 1)
    spec = [{"kind": "dense", "units": CLASSES, "activation": "softmax"}]
    ours, theirs = build_head(spec, (WIDTH,), 1), build_head(spec, (WIDTH,), 1)
    found = fit(
        logits_model(ours),
        source((x, y)),
        source((x, y)),
        settings(epochs=1, optimizer="sgd"),
        quiet,
    )
    rows, mask = epoch_batches(20, 16, 1, None, 7)
    theirs.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
    losses = [
        theirs.train_on_batch(x[r[m > 0]], y[r[m > 0]]) for r, m in zip(rows, mask, strict=True)
    ]
    np.testing.assert_allclose(
        ours.get_layer("head_logits").get_weights()[0],
        theirs.get_layer("head_logits").get_weights()[0],
        atol=2e-6,
    )
    assert found.batches["loss"].iloc[0] == pytest.approx(float(np.ravel(losses[0])[0]), rel=1e-5)


def test_the_history_has_every_epoch_and_every_batch() -> None:
    said: list[str] = []
    found = fit(
        logits_model(head()),
        source(separable(50, 1)),
        source(separable(30, 2)),
        settings(epochs=3),
        said.append,
    )
    assert found.epochs["epoch"].tolist() == [1, 2, 3]
    assert found.batches["step"].tolist() == list(range(1, 13))
    assert found.batches["epoch"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    first = found.batches[found.batches["epoch"] == 1]
    mean = np.average(first["accuracy"], weights=[16, 16, 16, 2])
    assert found.epochs["accuracy"].iloc[0] == pytest.approx(mean)
    assert len(said) == 3
    assert said[0].startswith("Epoch 1 of 3: loss ")
    assert not found.stopped_early


def _overfitting(patience: int | None) -> tuple[Any, Any]:
    """Few images with random labels: validation soon gets worse."""
    generator = np.random.default_rng(5)
    x, y = separable(24, 1, spread=3)
    y = generator.integers(0, CLASSES, 24)
    model = head(hidden=64)
    found = fit(
        logits_model(model),
        source((x, y)),
        source(separable(200, 2, spread=3)),
        settings(epochs=40, learning_rate=0.05, patience=patience),
        quiet,
    )
    return model, found


def test_early_stopping_restores_the_best_weights() -> None:
    model, found = _overfitting(patience=3)
    losses = found.epochs["val_loss"]
    assert found.stopped_early
    assert found.best_epoch == losses.idxmin() + 1
    assert len(losses) == found.best_epoch + 3
    loss, accuracy = score(
        logits_model(model), source(separable(200, 2, spread=3)), "categorical_crossentropy"
    )
    assert loss == losses.min()
    assert accuracy == found.epochs["val_accuracy"][found.best_epoch - 1]


def test_without_patience_the_last_weights_stay() -> None:
    model, found = _overfitting(patience=None)
    assert not found.stopped_early
    assert found.best_epoch == len(found.epochs) == 40
    loss, _ = score(
        logits_model(model), source(separable(200, 2, spread=3)), "categorical_crossentropy"
    )
    assert loss == found.epochs["val_loss"].iloc[-1]


def test_a_rare_class_is_found_when_it_weighs_more() -> None:
    generator = np.random.default_rng(3)
    y = np.repeat([0, 1], [190, 10])
    x = generator.normal(size=(200, WIDTH)).astype(np.float32)
    x[:, 0] += 1.5 * y
    found = {}
    for name, weights in (("none", None), ("balanced", balanced_class_weights(y, CLASSES))):
        model = head()
        fit(
            logits_model(model),
            source((x, y)),
            source((x, y)),
            settings(class_weights=weights),
            quiet,
        )
        guesses = model.predict_on_batch(x).argmax(axis=1)
        found[name] = (guesses[y == 1] == 1).mean()
    assert found["balanced"] > found["none"] + 0.2


def test_balanced_weights_leave_the_mean_at_one() -> None:
    labels = np.repeat([0, 1, 3], [60, 30, 10])
    weights = balanced_class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 90, 0, 100 / 30])
    assert weights[labels].mean() == pytest.approx(1)


def test_binary_loss_and_categorical_accuracy_of_a_sigmoid_head() -> None:
    from sklearn.metrics import log_loss

    x, y = separable(100, 1)
    model = head("sigmoid")
    loss, accuracy = score(logits_model(model), source((x, y)), "binary_crossentropy")
    probabilities = model.predict_on_batch(x)
    each = [log_loss(y == i, probabilities[:, i], labels=[False, True]) for i in range(CLASSES)]
    assert loss == pytest.approx(np.mean(each), rel=1e-5)
    # Not the share of right outputs, which is high for a model that says no to everything.
    assert accuracy == (probabilities.argmax(axis=1) == y).mean()


def pair(n: int, seed: int) -> Data:
    """Two classes that a line divides."""
    x, y = separable(3 * n, seed)
    keep = np.flatnonzero(y < 2)[:n]
    return x[keep], y[keep]


def one(seed: int = 1) -> Any:
    return build_head([{"kind": "dense", "units": 1, "activation": "sigmoid"}], (WIDTH,), seed)


@pytest.mark.parametrize("weighted", [False, True])
def test_one_output_learns_as_kerass_dense_1_does_from_logits(*, weighted: bool) -> None:
    x, y = pair(16, 1)
    weights = np.array([0.5, 3.0]) if weighted else None
    ours = one()
    found = fit(
        logits_model(ours),
        source((x, y)),
        source((x, y)),
        settings(epochs=1, optimizer="rmsprop", loss="binary_crossentropy", class_weights=weights),
        quiet,
    )
    theirs = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(1)])
    theirs.layers[0].set_weights(one().get_layer("head_logits").get_weights())
    theirs.compile(
        keras.optimizers.RMSprop(0.02), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    loss = theirs.train_on_batch(x, y, class_weight=None if weights is None else {0: 0.5, 1: 3.0})
    for mine, other in zip(
        ours.get_layer("head_logits").get_weights(), theirs.get_weights(), strict=True
    ):
        np.testing.assert_allclose(mine, other, atol=2e-6)
    assert found.batches["loss"].iloc[0] == pytest.approx(float(np.ravel(loss)[0]), rel=1e-5)


def test_loss_and_accuracy_of_one_output_are_those_of_both_probabilities() -> None:
    from sklearn.metrics import log_loss

    x, y = pair(80, 2)
    model = one()
    loss, accuracy = score(logits_model(model), source((x, y)), "binary_crossentropy")
    probabilities = model.predict_on_batch(x)
    assert loss == pytest.approx(log_loss(y, probabilities), rel=1e-5)
    assert accuracy == (probabilities.argmax(axis=1) == y).mean()
    assert 0 < accuracy < 1
    # A sure mistake keeps its gradient: the wild curve comes of a loss on outputs of no activation.
    far = fit(
        logits_model(model), source((1e4 * x, 1 - y)), source((x, y)),
        settings(loss="binary_crossentropy", epochs=1), quiet,
    )  # fmt: skip
    assert np.isfinite(far.batches["loss"]).all()
    assert far.batches["loss"].iloc[0] > 100


def test_where_the_inputs_come_from_does_not_change_a_bit() -> None:
    x, y = separable(70, 1)
    seen: set[int] = set()

    def take(rows: npt.NDArray[np.int32], epoch: int) -> npt.NDArray[np.float32]:
        seen.add(epoch)
        return x[rows]

    results = []
    for train in (
        BatchSource.of_array(x, y),
        BatchSource.of_array(x, y, resident_bytes=0),
        BatchSource.of_function(take, y),
    ):
        model = head(dropout=0.3)
        found = fit(logits_model(model), train, train, settings(epochs=2), quiet)
        results.append((dump_head(model), found.batches))
    assert seen == {0, 1, 2}
    for weights, batches in results[1:]:
        assert all(np.array_equal(results[0][0][name], array) for name, array in weights.items())
        assert batches.equals(results[0][1])


def test_what_fills_up_a_batch_is_not_made_again() -> None:
    x, y = separable(11, 1)
    taken: list[int] = []

    def take(rows: npt.NDArray[np.int32], _: int) -> npt.NDArray[np.float32]:
        taken.extend(rows.tolist())
        return x[rows]

    rows, mask = epoch_batches(11, 4, 1, None, 7)
    batches = list(BatchSource.of_function(take, y).ahead(rows, mask, 1))
    assert sorted(taken) == list(range(11))
    assert np.array_equal(np.stack(batches), x[rows])


def test_an_error_in_a_source_comes_out() -> None:
    def take(rows: npt.NDArray[np.int32], epoch: int) -> npt.NDArray[np.float32]:
        raise HeadstartError(f"image {rows[0]} of epoch {epoch}")

    x, y = separable(20, 1)
    with pytest.raises(HeadstartError, match="of epoch 1"):
        fit(
            logits_model(head()),
            BatchSource.of_function(take, y),
            BatchSource.of_array(x, y),
            settings(),
            quiet,
        )


def test_divergence_is_reported_with_its_place_and_a_next_step() -> None:
    x, y = separable(40, 1)
    x[3, 0] = np.inf
    with pytest.raises(HeadstartError, match=r"epoch 1, batch \d.*learning rate 0\.02"):
        fit(logits_model(head()), source((x, y)), source((x, y)), settings(), quiet)


def test_only_trainable_variables_learn() -> None:
    model = head(hidden=8)
    frozen = model.get_layer("head_1_dense")
    frozen.trainable = False
    before = [np.array(weight) for weight in frozen.get_weights()]
    data = source(separable(60, 1))
    fit(logits_model(model), data, data, settings(epochs=2), quiet)
    for old, new in zip(before, frozen.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_weight_decay_shrinks_kernels_and_leaves_biases() -> None:
    x = np.zeros((16, WIDTH), np.float32)  # No gradient reaches the kernel.
    y = np.zeros(16, np.int64)
    spec = [{"kind": "dense", "units": CLASSES, "activation": "softmax"}]
    kernels, biases = [], []
    for decay in (0.0, 0.5):
        model = build_head(spec, (WIDTH,), 1)
        data = source((x, y))
        fit(logits_model(model), data, data, settings(epochs=1, weight_decay=decay), quiet)
        kernels.append(dump_head(model)["0.kernel"])
        biases.append(dump_head(model)["0.bias"])
    np.testing.assert_allclose(kernels[1], kernels[0] * (1 - 0.5 * 0.02), rtol=1e-5)
    assert np.array_equal(biases[0], biases[1])


@pytest.mark.parametrize(
    ("warm_up", "shares"), [(0, [3 / 12, 7 / 12, 11 / 12]), (1, [None, 3 / 8, 7 / 8])]
)
def test_a_cosine_ends_near_zero_and_a_warm_up_begins_there(
    warm_up: int, shares: list[float | None]
) -> None:
    """The rate of each epoch's last step, of 4 steps an epoch."""
    data = source(separable(64, 1))
    chosen = settings(epochs=3, schedule="cosine", warm_up=warm_up)
    found = fit(logits_model(head()), data, data, chosen, quiet).epochs["learning_rate"]
    wanted = [
        0.02 * 3 / 4 if share is None else 0.02 * (1 + np.cos(np.pi * share)) / 2
        for share in shares
    ]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_label_smoothing_is_that_of_keras(activation: str) -> None:
    x, y = separable(16, 1)
    ours, theirs = head(activation), head(activation)
    crossentropy = "categorical" if activation == "softmax" else "binary"
    loss: Any = f"{crossentropy}_crossentropy"
    chosen = settings(epochs=1, optimizer="sgd", loss=loss, label_smoothing=0.2)
    fit(logits_model(ours), source((x, y)), source((x, y)), chosen, quiet)
    classes = {"softmax": "CategoricalCrossentropy", "sigmoid": "BinaryCrossentropy"}
    smoothed = getattr(keras.losses, classes[activation])(label_smoothing=0.2)
    theirs.compile(keras.optimizers.SGD(0.02), smoothed)
    theirs.train_on_batch(x, np.eye(CLASSES)[y])
    for name, array in dump_head(ours).items():
        np.testing.assert_allclose(array, dump_head(theirs)[name], atol=2e-6)


def test_fixed_standardization_is_that_of_the_features_and_stays() -> None:
    x, y = separable(300, 1)
    spec: list[dict[str, Any]] = [
        {"kind": "batch_normalization", "epsilon": 1e-3, "fixed": True},
        {"kind": "dense", "units": CLASSES, "activation": "softmax"},
    ]
    model = build_head(spec, (WIDTH,), 1)
    load_head(model, {**dump_head(model), **statistics(spec, x)})
    fit(logits_model(model), source((x, y)), source((x, y)), settings(epochs=2), quiet)
    found = dump_head(model)
    np.testing.assert_allclose(found["0.moving_mean"], x.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["0.moving_variance"], x.var(axis=0), rtol=1e-4)
    assert (found["0.gamma"] == 1).all()
    assert (found["0.beta"] == 0).all()
    assert found["1.kernel"].any()


def test_a_calibrated_loss_forgives_what_a_temperature_would() -> None:
    x, y = separable(200, 2, spread=3)
    model = head()
    fit(logits_model(model), source((x, y)), source((x, y)), settings(epochs=2), quiet)
    weights = model.get_layer("head_logits").get_weights()
    model.get_layer("head_logits").set_weights([array * 8 for array in weights])
    scorer = Scorer(logits_model(model), source((x, y)), "categorical_crossentropy")
    (raw, accuracy), (calibrated, same) = scorer(), scorer(calibrated=True)
    assert calibrated < raw / 1.5
    assert accuracy == same


def test_regularization_of_the_model_counts_in_the_gradient() -> None:
    x, y = np.zeros((16, WIDTH), np.float32), np.zeros(16, np.int64)
    model = keras.Sequential(
        [
            keras.Input((WIDTH,)),
            keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.5)),
        ]
    )
    before = model.layers[0].get_weights()[0]
    data = source((x, y))
    fit(model, data, data, settings(epochs=1, optimizer="sgd", learning_rate=0.1), quiet)
    np.testing.assert_allclose(model.layers[0].get_weights()[0], before * 0.9, rtol=1e-5)


@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 20),
    epoch=st.integers(1, 9),
    seed=st.integers(0, 2**64 - 1),
)
def test_an_epoch_is_every_row_once(n: int, batch: int, epoch: int, seed: int) -> None:
    batch = min(batch, n)
    rows, mask = epoch_batches(n, batch, epoch, None, seed)
    assert rows.shape == mask.shape == (-(-n // batch), batch)
    assert sorted(rows[mask > 0].tolist()) == list(range(n))
    assert ((rows >= 0) & (rows < n)).all()


@given(n=st.integers(1, 40), batch=st.integers(1, 12), steps=st.integers(1, 9))
def test_fixed_steps_go_on_where_the_last_epoch_ended(n: int, batch: int, steps: int) -> None:
    batch = min(batch, n)
    parts = [epoch_batches(n, batch, epoch, steps, 3) for epoch in range(1, 6)]
    assert all(rows.shape == (steps, batch) and mask.all() for rows, mask in parts)
    stream = np.concatenate([rows.ravel() for rows, _ in parts])
    counts = np.bincount(stream, minlength=n)
    assert counts.max() - counts.min() <= 1
    for start in range(0, len(stream) - n + 1, n):
        assert sorted(stream[start : start + n].tolist()) == list(range(n))


def test_a_source_needs_a_row_and_a_label_for_each() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        BatchSource.of_array(np.zeros((0, 2), np.float32), np.zeros(0))
    with pytest.raises(ValueError, match="3 rows with 2 labels"):
        BatchSource.of_array(np.zeros((3, 2), np.float32), np.zeros(2))


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((1280,), 256), ((224, 224, 3), 34), ((28, 28, 1024), 6), ((4096, 4096, 3), 1)],
)
def test_large_rows_are_scored_few_at_once(shape: tuple[int, ...], rows: int) -> None:
    array = np.broadcast_to(np.float32(0), (1, *shape))
    source = BatchSource.of_array(array, np.zeros(1), resident_bytes=0)
    assert at_once(source) == rows


def test_rows_of_unknown_size_are_scored_few_at_once() -> None:
    source = BatchSource.of_function(lambda rows, _: np.zeros((len(rows), 9)), np.zeros(99))
    assert at_once(source) == 32


class KilledError(Exception):
    """Stands for a kill."""


def _state(model: Any) -> list[bytes]:
    return [np.array(variable.numpy()).tobytes() for variable in model.variables]


def _at_the_next_epoch(line: str) -> None:
    if not line.startswith("Resumed"):
        raise KilledError


@pytest.mark.parametrize(
    ("optimizer", "resident", "patience"),
    [("adam", True, 2), ("rmsprop", False, None)],
)
def test_a_training_that_was_killed_resumes_and_ends_with_the_same_bits(
    optimizer: str, resident: bool, patience: int | None
) -> None:
    train, validation = separable(90, 1, spread=2.0), separable(60, 2, spread=2.0)
    chosen = settings(epochs=5, patience=patience, optimizer=optimizer, learning_rate=0.05)
    made = source(train)
    if not resident:
        made = BatchSource.of_function(lambda indices, _: train[0][indices], train[1])

    def run(say: Callable[[str], None], checkpoint: Checkpoint | None) -> tuple[Any, Any]:
        model = logits_model(head(dropout=0.3, hidden=8))
        return model, fit(model, made, source(validation), chosen, say, checkpoint)

    expected, history = run(quiet, None)
    checkpoint = Checkpoint(sha256_bytes(optimizer.encode()))
    lines: list[str] = []
    for _ in range(len(history.epochs)):
        with pytest.raises(KilledError):
            run(_at_the_next_epoch, checkpoint)
    resumed, again = run(lines.append, checkpoint)
    assert lines == [f"Resumed after epoch {len(history.epochs)} of 5."]
    assert _state(resumed) == _state(expected)
    pd.testing.assert_frame_equal(again.epochs, history.epochs)
    pd.testing.assert_frame_equal(again.batches, history.batches)
    assert (again.best_epoch, again.stopped_early) == (history.best_epoch, history.stopped_early)


def test_a_damaged_checkpoint_is_reported_and_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    data = source(separable(60, 1))
    checkpoint = Checkpoint("b" * 64)
    expected = fit(logits_model(head()), data, data, settings(epochs=2), quiet, checkpoint)
    whole = checkpoint.path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.float32(0.02).tobytes())] ^= 1  # the optimizer's learning rate
    for content in (b"", b"x", whole[:-50], bytes(flipped)):
        checkpoint.path.write_bytes(content)
        lines: list[str] = []
        found = fit(logits_model(head()), data, data, settings(epochs=2), lines.append, checkpoint)
        assert len(lines) == 2
        assert "starts over" in capsys.readouterr().err
        pd.testing.assert_frame_equal(found.epochs, expected.epochs)


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    data = source(separable(60, 1))
    found = fit(logits_model(head()), data, data, settings(epochs=3), quiet, Checkpoint("c" * 64))
    assert len(found.epochs) == 3
    assert capsys.readouterr().err.count("No checkpoint can be written") == 1


def test_old_checkpoints_are_swept() -> None:
    data = source(separable(60, 1))
    old, new = Checkpoint("d" * 64), Checkpoint("e" * 64)
    fit(logits_model(head()), data, data, settings(epochs=1), quiet, old)
    os.utime(old.path, (0, 0))
    fit(logits_model(head()), data, data, settings(epochs=1), quiet, new)
    assert not old.path.exists()
    assert new.path.exists()
    new.drop()
    assert not new.path.exists()

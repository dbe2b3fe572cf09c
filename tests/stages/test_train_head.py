"""The stage as DVC runs it, on features made by hand."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.features.folder import Features, read_features
from headstart.stage.parameters import read_params
from headstart.stage.run_statistics import RunStatistics
from headstart.training.head import apply_head, head_logits
from headstart.training.history import read_batches, read_epochs
from headstart.training.model_folder import ModelRecord, read_head, read_model
from headstart.training.scores import mean_loss
from stages.train_head import main
from tests.stages.recorded import RUNTIME, Recorded, params, record, separable, stage


def run(data: Recorded, to: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    to.mkdir(parents=True, exist_ok=True)
    return stage(
        "train_head",
        features=data.features,
        runtime=RUNTIME,
        model=to / "head",
        epoch_history=to / "epochs.csv",
        batch_history=to / "batches.csv",
        run_statistics=to / "run_statistics",
        params=params(to / "params.yaml", **changes),
    )


def here(data: Recorded, to: Path, **changes: Any) -> None:
    """The same without a process of its own."""
    to.mkdir(parents=True, exist_ok=True)
    values = read_params(params(to / "params.yaml", **changes))
    with RunStatistics.open(to / "run_statistics", "train_head") as run_statistics:
        main(
            data.features,
            RUNTIME,
            to / "head",
            to / "epochs.csv",
            to / "batches.csv",
            values.seed,
            values.train_head,
            run_statistics,
        )


def contents(folder: Path) -> dict[str, bytes]:
    names = ["head/head.npz", "head/model.json", "head/labels.json", "epochs.csv", "batches.csv"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    data = separable(tmp_path / "data")
    for name in ("one", "two"):
        done = run(data, tmp_path / name, train_head__epochs=4)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    here(data, tmp_path / "other", train_head__epochs=4, seed=43)
    assert (
        (contents(tmp_path / "other")["head/head.npz"])
        != contents(tmp_path / "one")["head/head.npz"]
    )


def test_a_separable_problem_is_learned_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = separable(tmp_path / "data")
    here(data, tmp_path, train_head__epochs=15, train_head__learning_rate=0.01)
    model = read_model(tmp_path / "head")
    assert model.kind == "head"
    assert model.classes == ("ant", "bee", "cat")
    assert model.backbone.random_weights
    assert model.validation.accuracy > 0.95
    epochs, batches = read_epochs(tmp_path / "epochs.csv"), read_batches(tmp_path / "batches.csv")
    assert len(batches) == len(epochs) * 8  # 240 images in batches of 32.
    best = int(epochs["val_loss"].to_numpy().argmin())
    assert model.validation.loss == epochs["val_loss"][best]
    assert f"epoch {best + 1} of {len(epochs)}" in model.chosen_because
    # What is in the folder is what was scored.
    features = read_features(data.features)
    found = apply_head(
        model.head, read_head(tmp_path / "head", model), features.array("validation")
    )
    right = found.argmax(axis=1) == np.array(data.labels["validation"])
    assert right.mean() == model.validation.accuracy
    entry = json.loads((tmp_path / "run_statistics/train_head.json").read_text())
    assert entry["epochs"] == len(epochs)
    assert epochs["learning_rate"].is_monotonic_decreasing  # cosine
    assert mean_loss_of(model, tmp_path / "head", features) == pytest.approx(
        model.validation.loss, abs=1e-4
    )
    said = capsys.readouterr().out
    assert "Calibrated with temperature" in said
    assert said.count("\nEpoch ") + said.startswith("Epoch") == len(epochs)
    assert "random weights" in said


def mean_loss_of(model: ModelRecord, folder: Path, features: Features) -> float:
    """The validation loss of the weights that were written: the temperature is in them."""
    logits = head_logits(model.head, read_head(folder, model), features.array("validation"))
    return mean_loss(logits, features.labels("validation"), "softmax")


@pytest.mark.parametrize(
    ("shape", "dtype", "changes"),
    [
        ((4, 4, 8), "float32", {"train_head__hidden": [12]}),
        ((16,), "float16", {"train_head__early_stopping_patience": None}),
        (
            (16,),
            "float32",
            {
                "train_head__activation": "sigmoid",
                "train_head__loss": "binary_crossentropy",
                "train_head__optimizer": "rmsprop",
                "train_head__class_weights": "balanced",
                "train_head__steps_per_epoch": 5,
            },
        ),
    ],
)
def test_every_kind_of_head_learns(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, changes: dict[str, Any]
) -> None:
    data = separable(tmp_path / "data", shape=shape, dtype=dtype)
    here(data, tmp_path, train_head__learning_rate=0.01, **changes)
    model = read_model(tmp_path / "head")
    assert model.validation.accuracy > 0.9
    assert model.feature_shape == shape
    assert model.class_weights == changes.get("train_head__class_weights", "none")
    steps = changes.get("train_head__steps_per_epoch")
    if steps:
        per_epoch = read_batches(tmp_path / "batches.csv").groupby("epoch").size()
        assert (per_epoch == steps).all()
    if "train_head__early_stopping_patience" in changes:
        assert model.chosen_because == "the last of 30 epochs"


def test_views_are_trained_on_and_only_plain_images_are_scored(tmp_path: Path) -> None:
    """What tells the classes apart lies in the views alone: without them nothing is learned."""
    generator = np.random.default_rng(3)
    labels = [0] * 30 + [1] * 10
    sides = np.where(np.array(labels) == 0, -1.0, 1.0)[:, None] * np.ones((1, 6))
    noise = generator.normal(size=(40, 6)).astype(np.float32)
    held_out = (sides.astype(np.float32), labels)
    splits = {"train": (noise, labels), "validation": held_out, "test": held_out}
    views = np.stack([sides + 0.1 * generator.normal(size=sides.shape) for _ in range(3)])
    data = record(tmp_path / "data", splits, ["a", "b"], views=views.astype(np.float32))
    changes = {
        "train_head__epochs": 10, "train_head__batch_size": 16, "train_head__learning_rate": 0.02,
        "train_head__steps_per_epoch": None, "train_head__class_weights": "balanced",
    }  # fmt: skip
    here(data, tmp_path, **changes)
    assert read_model(tmp_path / "head").validation.accuracy == 1
    batches = read_batches(tmp_path / "batches.csv")
    assert (batches.groupby("epoch").size() == 10).all()  # 4 × 40 rows in batches of 16
    # The shares of the classes are those of the images: views leave the weights as they are.
    rows = read_features(data.features).rows("train")
    assert rows["label"].value_counts().to_dict() == {"a": 120, "b": 40}


TUTORIALS: dict[str, tuple[tuple[int, ...], int, dict[str, Any], int, int]] = {
    # 0.7, 0.9, 0.11, 0.12: Dense(classes, softmax), Adam at its default rate, stopped with patience
    # 2, 3 epochs of 21 steps.
    "alien-vs-predator": (
        (1280,), 2,
        {"activation": "softmax", "optimizer": "adam", "learning_rate": 0.001, "epochs": 3,
         "steps_per_epoch": 21, "early_stopping_patience": 2},
        1280 * 2 + 2, 21,
    ),
    # 1.4, 1.5: Dense(3) on the frozen feature vector, 2 epochs.
    "tensorflow-hub": ((1280,), 3, {"activation": "softmax", "epochs": 2}, 3_843, 4),
    # 1.7, 1.8: the recorded maps of VGG16 at 150, flattened into a dense classifier.
    "vgg16-maps": (
        (4, 4, 512), 2,
        {"hidden": [256], "dropout": 0.5, "activation": "sigmoid", "outputs": "one",
         "optimizer": "rmsprop", "learning_rate": 0.00002, "epochs": 2},
        8192 * 256 + 256 + 256 + 1, 4,
    ),
    # 2.5: batch normalization, dropout 0.2, Dense(2, softmax), Adam.
    "cats-vs-dogs-vgg16": (
        (512,), 2,
        {"normalization": "batch", "dropout": 0.2, "activation": "softmax", "epochs": 2},
        4 * 512 + 512 * 2 + 2, 4,
    ),
    # 3.6, 3.7: Dense(1), RMSprop at 1e-4, binary cross-entropy from logits.
    "cats-vs-dogs-resnet": (
        (2048,), 2,
        {"outputs": "one", "activation": "sigmoid", "optimizer": "rmsprop",
         "learning_rate": 0.0001, "epochs": 2},
        2048 + 1, 4,
    ),
    # 4.7, 4.9: Dense(102, sigmoid), RMSprop at 1e-4, binary cross-entropy.
    "fruits360": (
        (1024,), 102,
        {"activation": "sigmoid", "optimizer": "rmsprop", "learning_rate": 0.0001, "epochs": 2},
        104_550, 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(TUTORIALS))
def test_the_heads_of_the_tutorials(name: str, tmp_path: Path) -> None:
    shape, classes, changes, parameters, steps = TUTORIALS[name]
    generator = np.random.default_rng(1)
    centers = generator.normal(size=(classes, *shape)).astype(np.float32)
    labels = list(range(classes)) * (112 // classes)
    # Apart by some deviations, so that two epochs of any rate end better than they began.
    x = centers[labels] + 0.1 * generator.normal(size=(len(labels), *shape)).astype(np.float32)
    splits = {"train": (x, labels), "validation": (x, labels), "test": (x, labels)}
    data = record(tmp_path / "data", splits, [f"{i:03}" for i in range(classes)])
    plain = {
        "hidden": [], "normalization": "none", "dropout": 0.0, "outputs": "classes",
        "label_smoothing": 0.0, "optimizer": "adam", "learning_rate": 0.001,
        "learning_rate_schedule": "constant", "weight_decay": 0.0, "batch_size": 32,
        "steps_per_epoch": None, "early_stopping_patience": None, "calibration": "none",
        "class_weights": "none",
    }  # fmt: skip
    values = {**plain, **changes}
    sigmoid = values["activation"] == "sigmoid"
    values["loss"] = "binary_crossentropy" if sigmoid else "categorical_crossentropy"
    here(data, tmp_path, **{f"train_head__{key}": value for key, value in values.items()})
    model = read_model(tmp_path / "head")
    weights = read_head(tmp_path / "head", model)
    assert sum(array.size for array in weights.values()) == parameters
    epochs, batches = read_epochs(tmp_path / "epochs.csv"), read_batches(tmp_path / "batches.csv")
    assert (batches.groupby("epoch").size() == steps).all()
    assert len(epochs) == values["epochs"]
    assert epochs["val_loss"].iloc[-1] < epochs["val_loss"].iloc[0]
    # Every class has a probability, of one output, too; accuracy is that of the first guess.
    probabilities = apply_head(model.head, weights, x)
    assert probabilities.shape == (len(x), classes)
    right = (probabilities.argmax(axis=1) == np.array(labels)).mean()
    assert right == epochs["val_accuracy"].iloc[model_epoch(model.chosen_because) - 1]


def model_epoch(reason: str) -> int:
    """The epoch whose weights were taken."""
    found = re.search(r"in epoch (\d+)|last of (\d+)", reason)
    assert found
    return int(found[1] or found[2])


def test_one_output_for_three_classes_is_refused(tmp_path: Path) -> None:
    data = separable(tmp_path / "data")
    done = run(
        data, tmp_path, train_head__outputs="one", train_head__activation="sigmoid",
        train_head__loss="binary_crossentropy",
    )  # fmt: skip
    assert done.returncode == 1
    assert "`train_head.outputs: one` distinguishes two classes, and there are 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_output_needs_a_sigmoid(tmp_path: Path) -> None:
    path = params(
        tmp_path / "params.yaml", train_head__outputs="one", train_head__activation="softmax"
    )
    with pytest.raises(ParameterError, match="must be sigmoid with `outputs: one`"):
        read_params(path)


def test_a_class_without_training_images_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.eye(4, dtype=np.float32)
    splits = {"train": (x, [0, 0, 1, 1]), "validation": (x[:2], [0, 1]), "test": (x[:2], [0, 1])}
    data = record(tmp_path / "data", splits, ["a", "b", "never\x1b[2J"])
    here(data, tmp_path, train_head__epochs=1, train_head__class_weights="balanced")
    said = capsys.readouterr().out
    assert "Warning: no train image of never\\x1b[2J." in said
    assert read_model(tmp_path / "head").classes == ("a", "b", "never\x1b[2J")


@pytest.mark.parametrize("rate", [1e4, 1e9])
def test_an_exploding_head_is_refused_and_the_named_rate_works(rate: float, tmp_path: Path) -> None:
    data = separable(tmp_path / "data")
    # A decay at such a rate ends in no numbers at all, which is another message.
    high: dict[str, Any] = {"train_head__optimizer": "adam", "train_head__weight_decay": 0.0}
    with pytest.raises(HeadstartError, match="Training exploded") as caught:
        here(data, tmp_path / "high", train_head__epochs=4, train_head__learning_rate=rate, **high)
    assert not (tmp_path / "high" / "head").exists()
    named = re.search(r"try ([\d.e-]+)\.$", str(caught.value))
    assert named
    lower = float(named[1])
    here(data, tmp_path / "lower", train_head__epochs=30, train_head__learning_rate=lower)
    assert read_model(tmp_path / "lower" / "head").validation.accuracy > 0.9


def test_a_constant_head_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.zeros((12, 3), np.float32)
    labels = [0] * 8 + [1] * 4
    splits = dict.fromkeys(("train", "validation", "test"), (noise, labels))
    data = record(tmp_path / "data", splits, ["cat", "dog"])
    here(data, tmp_path / "run", train_head__epochs=2, train_head__learning_rate=0.001)
    assert "Warning: the model gives the same class to all 12 validation images" in (
        capsys.readouterr().out
    )


def test_one_class_is_refused(tmp_path: Path) -> None:
    x = np.eye(2, dtype=np.float32)
    data = record(
        tmp_path / "data", {s: (x, [0, 0]) for s in ("train", "validation", "test")}, ["a"]
    )
    done = run(data, tmp_path)
    assert done.returncode == 1
    assert "only one class, 'a'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "head").exists()


def test_damaged_features_are_refused_before_training(tmp_path: Path) -> None:
    data = separable(tmp_path / "data", counts=(6, 3, 3))
    path = data.features / "train.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    done = run(data, tmp_path)
    assert done.returncode == 1
    assert "train.npy" in done.stderr
    assert "Traceback" not in done.stderr

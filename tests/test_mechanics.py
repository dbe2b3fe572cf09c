"""Every family of backbones that the tutorials name, from the download to the exported model.

Mechanics and nothing else: the weights are random, the images few and small, and no score means
anything. Each backbone and each kind of head goes all the way: built, converted, run over the
images, trained, evaluated, exported, and reloaded to the same probabilities.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.checkout import Checkout
from headstart.evaluation.predictions import read_predictions
from headstart.features.folder import read_features
from headstart.training.model_folder import read_model
from tests.images.made import encoded
from tests.stages.small_run import image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
A_CLASS = 12
CLASSES = ("cat", "dog")
DENSE = {"hidden": [], "normalization": "none", "dropout": 0.0, "outputs": "classes"}
SOFTMAX = {"activation": "softmax", "loss": "categorical_crossentropy", "optimizer": "adam"}
SIGMOID = {"activation": "sigmoid", "loss": "binary_crossentropy", "optimizer": "rmsprop"}
TURN = {"rotation": 20, "width_shift": 0.2, "shear": 0.2, "zoom": 0.2, "horizontal_flip": True}

#: Base to side of the images, shape of the features, and sections of parameters.
CASES: dict[str, tuple[int, tuple[int, ...], dict[str, dict[str, Any]]]] = {
    # 1.8: recorded maps, flattened into hidden layers.
    "vgg16": (
        64, (2, 2, 512),
        {"backbone": {"pooling": "none"},
         "train_head": {**DENSE, **SIGMOID, "hidden": [16], "dropout": 0.5, "outputs": "one"}},
    ),
    # 3.5 to 3.7: Dense(1) from logits, then everything from layer 100 on.
    "resnet101_v2": (
        32, (2048,),
        {"train_head": {**DENSE, **SIGMOID, "outputs": "one", "learning_rate": 0.0001},
         "fine_tune": {"epochs": 1, "unfreeze_by": "index", "unfreeze": 100, "batch_size": 4,
                       "optimizer": "rmsprop", "learning_rate": 0.0001}},
    ),
    # 2.5: batch normalization, dropout, Dense(2, softmax).
    "inception_v3": (
        75, (2048,),
        {"train_head": {**DENSE, **SOFTMAX, "normalization": "batch", "dropout": 0.2}},
    ),
    # 4.7: an output with a sigmoid for each class.
    "xception": (71, (2048,), {"train_head": {**DENSE, **SIGMOID}}),
    # 2.4: recorded views of the training images.
    "efficientnet_b0": (
        96, (1280,),
        {"extract_features": {"views": 2, "augment": TURN}, "train_head": {**DENSE, **SOFTMAX}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_a_base_with_random_weights_goes_from_download_to_export(name: str, tmp_path: Path) -> None:
    size, shape, sections = CASES[name]
    checkout = project(tmp_path, name, size, sections)
    _, said = checkout.repro("export")
    data = checkout.folder / "data"
    metrics = json.loads((data / "metrics/evaluate.json").read_text())
    assert metrics["random_weights"]
    assert "RANDOM WEIGHTS" in said
    features = read_features(data / "features")
    assert features.header.feature_shape == shape
    assert features.header.view_count == sections.get("extract_features", {}).get("views", 0)
    model = read_model(data / "models/fine_tuned")
    assert model.backbone.name == name
    told = read_predictions(data / "reports/predictions.csv", list(CLASSES))
    assert told.model.shape == (metrics["test_images"], 2)
    if model.head[-1]["activation"] == "softmax" or model.head[-1]["units"] == 1:
        np.testing.assert_allclose(told.model.sum(axis=1), 1, atol=1e-6)
    exported = json.loads((data / "metrics/export.json").read_text())["formats"]
    for form in ("saved_model", "keras", "tflite_float32"):
        assert exported[form]["pixels"]["same_first_guess_share"] == 1.0
        assert exported[form]["pixels"]["probability_differs_at_most"] <= 1e-4
    if "fine_tune" in sections:
        tuning = json.loads((data / "run_statistics/fine_tune.json").read_text())
        assert tuning["epochs"] == 1
        assert tuning["trained_parameters"] > 30_000_000


def test_a_single_layer_learns_and_the_model_goes_to_the_export(tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {
        "fine_tune": {"epochs": 8, "unfreeze_by": "only", "unfreeze": "conv_pw_11",
                      "batch_size": 4, "learning_rate": 0.001},
    }  # fmt: skip
    # Few validation images, as in the other cases, would hardly show a difference.
    sections["train_head"] = {**DENSE, **SIGMOID}
    checkout = project(tmp_path, "mobilenet", 32, sections, a_class=120)
    _, said = checkout.repro("export")
    assert "Fine-tuning of conv_pw_11 and no other layer" in said
    data = checkout.folder / "data"
    model = read_model(data / "models/fine_tuned")
    assert (model.kind, model.unfrozen_from) == ("fine_tuned", "conv_pw_11"), model.chosen_because
    assert model.unfrozen_alone
    before, after = (
        arrays(data / folder / "backbone.weights.h5")
        for folder in ("backbone", "models/fine_tuned")
    )
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert [before[name].shape for name in moved] == [(1, 1, 512, 512)]
    run_statistics = json.loads((data / "run_statistics/fine_tune.json").read_text())
    assert run_statistics["trained_parameters"] == 512 * 512 + 1024 * 2 + 2
    exported = json.loads((data / "metrics/export.json").read_text())
    assert exported["kind"] == "fine_tuned"
    for form in ("saved_model", "keras", "tflite_float32"):
        assert exported["formats"][form]["pixels"]["probability_differs_at_most"] <= 1e-4
    assert "in the layer `conv_pw_11` only" in (data / "export/MODEL_CARD.md").read_text()
    shown = checkout.run("headstart", "show", "model")[1]
    assert "Fine-tuned in conv_pw_11 only." in shown
    assert sum("frozen layers" in line for line in shown.splitlines()) == 2


def project(
    tmp_path: Path,
    name: str,
    size: int,
    sections: dict[str, dict[str, Any]],
    a_class: int = A_CLASS,
) -> Checkout:
    """Two classes of small images, a backbone with random weights, and these values."""
    checkout = Checkout(tmp_path / "project", tmp_path / "store")
    for kind, label in enumerate(CLASSES):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(a_class):
            (folder / f"{number:02}.png").write_bytes(encoded(image(kind, number), "PNG"))
    checkout.set(
        download__source="folder", download__location=str(tmp_path / "images"),
        split__validation=0.25, split__test=0.25,
        backbone__name=name, backbone__alpha=1.0, backbone__weights="random",
        backbone__image_size=size, train_head__epochs=2,
        export__formats=["saved_model", "keras", "tflite_float32"],
    )  # fmt: skip
    checkout.set(**_flat(sections))
    return checkout


def arrays(path: Path) -> dict[str, Any]:
    """Every array of an HDF5 file by its place."""
    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def _flat(sections: dict[str, dict[str, Any]], before: str = "") -> dict[str, Any]:
    """Nested sections as the arguments of :meth:`Checkout.set`."""
    found: dict[str, Any] = {}
    for key, value in sections.items():
        place = f"{before}{key}"
        found |= _flat(value, f"{place}__") if isinstance(value, dict) else {place: value}
    return found

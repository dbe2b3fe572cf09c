"""A fine-tuned model goes through the store and its own networks, and needs no TensorFlow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_folder
from headstart.backbones.record import NETWORK
from headstart.datasets.manifests import read_split
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.passes import by_stage
from headstart.evaluation.predictions import read_predictions
from headstart.training import activations
from headstart.training.model_folder import (
    BACKBONE_WEIGHTS,
    LOWER,
    UPPER,
    read_head,
    read_model,
    write_model,
)
from stages.evaluate import main
from tests.stages import small_run
from tests.stages.small_run import RUNTIME, SmallRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("evaluate")
        patch.setenv("HEADSTART_CACHE", str(folder / "store"))
        return small_run.make(folder / "run")


@pytest.fixture(scope="module")
def doubling(run: SmallRun) -> bytes:
    """A network that doubles the features."""
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.runtime import keras

    width = read_model(run.head).feature_shape
    inputs = keras.Input(width)
    return to_tflite(keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs)))


def tuned(run: SmallRun, folder: Path, lower: bytes | None, upper: bytes) -> Path:
    """A fine-tuned model with the head of ``run`` on given networks."""
    record = read_model(run.head)
    with atomic_folder(folder) as beside:
        (beside / BACKBONE_WEIGHTS).write_bytes(b"not read by evaluate")
        (beside / UPPER).write_bytes(upper)
        if lower is not None:
            (beside / LOWER).write_bytes(lower)
        weights = read_head(run.head, record)
        write_model(beside, record.model_copy(update={"kind": "fine_tuned"}), weights)
    return folder


def evaluate(run: SmallRun, model: Path, to: Path) -> dict[str, Any]:
    to.mkdir()
    run_statistics = run.run_statistics("evaluate")
    main(
        run.images,
        run.manifest,
        run.features,
        run.head,
        model,
        RUNTIME,
        to / "p.csv",
        to / "m.json",
        to / "c.csv",
        to / "cal.csv",
        EvaluateParams(top_k=2, calibration_bins=10),
        run_statistics,
    )
    table = json.loads((run_statistics.folder / "runtime.json").read_text())
    found: dict[str, Any] = by_stage(table)["evaluate"]
    return found


def test_test_images_pass_once_and_the_bytes_do_not_show_it(
    run: SmallRun, doubling: bytes, tmp_path: Path
) -> None:
    lower = (run.backbone / NETWORK).read_bytes()
    model = tuned(run, tmp_path / "model", lower, doubling)
    images = read_split(run.manifest).query("split == 'test'")["image_id"].nunique()
    first = evaluate(run, model, tmp_path / "first")
    assert (first["passes_done"], first["passes_cached"]) == (images, 0)
    second = evaluate(run, model, tmp_path / "second")
    assert (second["passes_done"], second["passes_cached"]) == (0, images)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    metrics = json.loads((tmp_path / "first/m.json").read_text())
    assert metrics["kind"] == "fine_tuned"


def test_both_networks_are_run_in_the_order_of_the_manifest(
    run: SmallRun, doubling: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.features.folder import read_features
    from headstart.training.head import apply_head

    model = tuned(run, tmp_path / "model", (run.backbone / NETWORK).read_bytes(), doubling)
    evaluate(run, model, tmp_path / "out")
    record = read_model(run.head)
    weights, recorded = read_head(run.head, record), read_features(run.features)
    features = np.asarray(recorded.array("test"), np.float32)
    found = read_predictions(tmp_path / "out/p.csv", record.classes)
    monkeypatch.setattr(activations, "_BLOCK_BYTES", 1)  # An image at a time
    evaluate(run, model, tmp_path / "one by one")
    one = read_predictions(tmp_path / "one by one/p.csv", record.classes)
    np.testing.assert_allclose(one.model, found.model, atol=1e-6)
    np.testing.assert_allclose(
        found.head, apply_head(record.head, weights, features), rtol=0, atol=5.1e-8
    )
    doubled = apply_head(record.head, weights, 2 * features)
    np.testing.assert_allclose(found.model, doubled, atol=1e-6)
    assert not np.array_equal(found.head, found.model)


def test_a_wholly_unfrozen_base_has_one_network(run: SmallRun, tmp_path: Path) -> None:
    model = tuned(run, tmp_path / "model", None, (run.backbone / NETWORK).read_bytes())
    evaluate(run, model, tmp_path / "out")
    found = read_predictions(tmp_path / "out/p.csv", read_model(run.head).classes)
    assert np.array_equal(found.head, found.model)


def test_networks_that_do_not_fit_the_head_are_refused(
    run: SmallRun, doubling: bytes, tmp_path: Path
) -> None:
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.runtime import keras

    inputs = keras.Input(read_model(run.head).feature_shape)
    halves = to_tflite(keras.Model(inputs, keras.layers.Reshape((2, -1))(inputs)))
    model = tuned(run, tmp_path / "model", (run.backbone / NETWORK).read_bytes(), halves)
    with pytest.raises(CorruptFileError, match="its head reads"):
        evaluate(run, model, tmp_path / "out")
    shutil.rmtree(model)

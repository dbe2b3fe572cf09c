"""A module of TensorFlow Hub all the way: features, head, fine-tuning, export and predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.files import sha256_tree
from headstart.datasets.manifests import read_split
from headstart.evaluation.predictions import read_predictions
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parity import load, locate
from headstart.export.record import read_exported
from headstart.serving.models import load_classifier
from headstart.training.model_folder import read_model
from tests.keras.networks import hub_modules
from tests.stages import small_run
from tests.stages.small_run import SmallRun, stage
from tests.stages.test_export import evaluated, exported

#: What holds standard layers alone cannot hold a module.
LEFT_OUT = {"keras", "h5"}
RUN: tuple[FormatName, ...] = ("saved_model", "tflite_float32")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    folder = tmp_path_factory.mktemp("hub")
    module = hub_modules.reusable(folder / "module")
    return small_run.make(
        folder / "files", name="hub", hub=str(module), alpha=1.0, weights="hub",
        weights_sha256=sha256_tree(module), image_size=None, pooling="none", gray16_bits=None,
    )  # fmt: skip


def tuned(run: SmallRun, **params: object) -> None:
    done = stage(
        run, "fine_tune",
        {"fine_tune": {"unfreeze_by": "count", "unfreeze": 1, "batch_size": 8, **params}},
        images=run.images, manifest=run.manifest, backbone_folder=run.backbone, head=run.head,
        features=run.features, model=run.folder / "tuned",
        epoch_history=run.folder / "epochs.csv", run_statistics=run.folder / "run_statistics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_the_exported_model_says_what_was_evaluated(run: SmallRun) -> None:
    tuned(run, epochs=3, learning_rate=0.01)
    record = read_model(run.folder / "tuned")
    assert record.kind == "fine_tuned"
    assert record.unfrozen_from == "module"
    evaluated(run, "tuned")
    done = exported(run, "tuned", "out", formats=["saved_model", "keras", "tflite_float32"])
    assert done.returncode == 0, done.stderr
    assert "keras: it holds standard layers only" in done.stdout
    metrics = json.loads((run.folder / "out.json").read_text())
    assert set(metrics["formats"]) == {"saved_model", "tflite_float32"}
    for form in metrics["formats"].values():
        assert form["pixels"]["same_first_guess"] == metrics["images"] == 12
        assert form["pixels"]["probability_differs_at_most"] <= 1e-5
    assert read_exported(run.folder / "out").backbone.weights == "module"
    # As a stranger: nothing of the run but the export folder and the images.
    told = read_predictions(run.folder / "tuned-predictions", record.classes)
    rows = locate(told.rows, read_split(run.manifest))
    _, pixels = load(run.images, rows, 32, None)
    for form in RUN:
        said = load_classifier(run.folder / "out", form)(pixels)
        np.testing.assert_allclose(said, told.model, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_form_twice_gives_the_same_bytes(run: SmallRun) -> None:
    tuned(run, epochs=1, learning_rate=0.01, batch_norm="train")
    evaluated(run, "tuned")
    digests = []
    for name in ("one", "two"):
        done = exported(run, "tuned", name, formats=list(FORMATS))
        assert done.returncode == 0, done.stderr
        digests.append(sha256_tree(run.folder / name))
    assert digests[0] == digests[1]
    metrics = json.loads((run.folder / "one.json").read_text())
    assert set(metrics["formats"]) == set(FORMATS) - LEFT_OUT


def test_features_alone_cannot_be_fine_tuned(tmp_path: Path) -> None:
    module = hub_modules.old_format(tmp_path / "module")
    run = small_run.make(
        tmp_path / "files", name="hub", hub=str(module), alpha=1.0, weights="hub",
        weights_sha256=sha256_tree(module), image_size=None, pooling="none", gray16_bits=None,
    )  # fmt: skip
    done = stage(
        run, "fine_tune", {"fine_tune": {"epochs": 1, "unfreeze_by": "count", "unfreeze": 1}},
        images=run.images, manifest=run.manifest, backbone_folder=run.backbone, head=run.head,
        features=run.features, model=run.folder / "tuned",
        epoch_history=run.folder / "epochs.csv", run_statistics=run.folder / "run_statistics",
    )  # fmt: skip
    assert done.returncode == 1
    assert "gives features only" in done.stderr
    assert not (run.folder / "tuned").exists()

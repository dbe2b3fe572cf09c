"""A backbone from a file all the way: features, head, fine-tuning, export and predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.files import sha256_file, sha256_tree
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import read_split
from headstart.evaluation.predictions import read_predictions
from headstart.export.formats import FormatName
from headstart.export.parity import load, locate
from headstart.export.record import read_exported
from headstart.serving.models import RUNNABLE, load_classifier
from headstart.training.model_folder import read_model
from tests.keras.networks import network_files
from tests.stages import small_run
from tests.stages.small_run import SmallRun, stage
from tests.stages.test_export import evaluated, exported

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def made(folder: Path, kind: str) -> SmallRun:
    network_files.recorded(
        network_files.MAKERS[kind](folder / "own"), license="MIT", source="a test"
    )
    return small_run.make(folder / "files", **section(folder))


def section(folder: Path) -> dict[str, Any]:
    """The values of `backbone` for the network in a folder."""
    (path,) = (folder / "own").glob("*.json")
    return {
        "name": "file", "hub": None, "alpha": 1.0, "weights": str(path),
        "weights_sha256": sha256_file(path), "image_size": None, "pooling": "none",
    }  # fmt: skip


def tuned(run: SmallRun, code: int = 0, **params: object) -> str:
    # What is unfrozen is checked against the section `backbone`.
    sections = {"backbone": section(run.folder.parent), "fine_tune": {"batch_size": 8, **params}}
    done = stage(
        run, "fine_tune", sections,
        images=run.images, manifest=run.manifest, backbone_folder=run.backbone, head=run.head,
        features=run.features, model=run.folder / "tuned",
        epoch_history=run.folder / "epochs.csv", run_statistics=run.folder / "run_statistics",
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr


def check_export(run: SmallRun, formats: list[FormatName], left_out: set[str]) -> None:
    """Export what was evaluated, and compare the predictions of each format with the recorded."""
    done = exported(run, "tuned", "out", formats=formats)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run.folder / "out.json").read_text())
    assert set(metrics["left_out"]) == left_out
    assert set(metrics["formats"]) == set(formats) - left_out
    for form in metrics["formats"].values():
        assert form["pixels"]["same_first_guess"] == metrics["images"] == 12
        assert form["pixels"]["probability_differs_at_most"] <= 1e-5
    record = read_exported(run.folder / "out")
    card = json.loads((run.folder / "out/model_card.json").read_text())
    assert (card["model"]["backbone"], card["model"]["license"]) == ("file", "MIT")
    assert "from a test" in card["model"]["origin"]
    told = read_predictions(run.folder / "tuned-predictions", record.classes)
    rows = locate(told.rows, read_split(run.manifest))
    _, pixels = load(run.images, rows, 32, None)
    for form in record.formats:
        if form in RUNNABLE:  # parity has run the others in processes of their own
            said = load_classifier(run.folder / "out", form)(pixels)
            np.testing.assert_allclose(said, told.model, atol=1e-5)


def test_a_translated_network_is_exported_but_not_fine_tuned(tmp_path: Path) -> None:
    run = made(tmp_path, "onnx")
    record = read_backbone(run.backbone)
    assert (record.name, record.weights, record.license) == ("file", "own.onnx", "MIT")
    assert record.feature_shape == (24,)
    refused = tuned(run, 1, epochs=1, unfreeze_by="count", unfreeze=1)
    assert "own.onnx cannot be fine-tuned" in refused
    tuned(run, epochs=0)
    evaluated(run, "tuned")
    check_export(run, ["saved_model", "keras", "tflite_float32", "onnx"], {"keras"})


def test_the_layers_of_a_keras_file_are_fine_tuned(tmp_path: Path) -> None:
    run = made(tmp_path, "keras")
    tuned(run, epochs=3, learning_rate=0.01, unfreeze_by="block", unfreeze=2)
    record = read_model(run.folder / "tuned")
    assert record.kind == "fine_tuned"
    assert record.unfrozen_from == "block_2_conv"
    evaluated(run, "tuned")
    check_export(run, ["saved_model", "keras", "tflite_float32", "onnx"], set())


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_the_other_formats(kind: str, tmp_path: Path) -> None:
    run = made(tmp_path, kind)
    if kind == "saved_model":
        tuned(run, epochs=3, learning_rate=0.01, unfreeze_by="layer", unfreeze="network")
        assert read_model(run.folder / "tuned").unfrozen_from == "network"
    else:
        tuned(run, epochs=0)
    evaluated(run, "tuned")
    check_export(run, ["saved_model", "keras", "tflite_float32", "onnx"], {"keras"})


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        run = made(tmp_path / name, "onnx")
        tuned(run, epochs=0)
        evaluated(run, "tuned")
        done = exported(run, "tuned", "out", formats=["saved_model", "tflite_float32", "onnx"])
        assert done.returncode == 0, done.stderr
        folders = (run.backbone, run.features, run.folder / "out")
        digests.append([sha256_tree(folder) for folder in folders])
    assert digests[0] == digests[1]

"""The stage on features made by hand, so that every score is known beforehand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.files import atomic_folder, write_json
from headstart.backbones.weights import Weights
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.passes import by_stage, passes_table
from headstart.evaluation.predictions import read_predictions
from headstart.evaluation.summary import passes_text
from headstart.stage.run_statistics import RunStatistics, run_id
from headstart.training.model_folder import ModelRecord, write_model
from stages.evaluate import main
from tests.stages.recorded import ROOT, RUNTIME, Recorded, params, record, separable, stage
from tests.training.models import record as model_record

CLASSES = ["ant", "bee", "cat"]
# Row = label, column = prediction.
CONFUSION = np.array([[8, 1, 1], [0, 5, 0], [2, 0, 3]])
OUTPUTS = (
    "predictions.csv",
    "metrics.json",
    "confusion.csv",
    "calibration.csv",
)


def known(folder: Path, **header: Any) -> Recorded:
    """Features whose largest entry is the prediction of an identity head."""
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(CONFUSION[i, j])]
    features = np.array([4.0 * np.eye(3)[j] for _, j in pairs], np.float32)
    test = (features, [i for i, _ in pairs])
    other = (np.eye(3, dtype=np.float32), [0, 1, 2])
    splits = {"train": other, "validation": other, "test": test}
    return record(folder, splits, CLASSES, **header)


def identity(folder: Path, **changes: Any) -> Path:
    of = identity_record(**changes)
    weights: Weights = {"0.kernel": np.eye(3, dtype=np.float32), "0.bias": np.zeros(3, np.float32)}
    return save(folder, of, weights)


def identity_record(**changes: Any) -> ModelRecord:
    dense = {"kind": "dense", "units": 3, "activation": "softmax"}
    values: dict[str, Any] = {
        "classes": tuple(CLASSES), "feature_shape": (3,), "head": (dense,), **changes
    }  # fmt: skip
    return model_record(**values)


def save(folder: Path, of: ModelRecord, weights: Weights) -> Path:
    with atomic_folder(folder) as beside:
        write_model(beside, of, weights)
    return folder


def evaluate(data: Recorded, head: Path, model: Path, to: Path, **params: int) -> dict[str, Any]:
    to.mkdir(exist_ok=True)
    values = EvaluateParams(**{"top_k": 2, "calibration_bins": 10, **params})
    with RunStatistics.open(to / "run_statistics", "evaluate") as run_statistics:
        main(
            data.images,
            data.manifest,
            data.features,
            head,
            model,
            RUNTIME,
            to / "predictions.csv",
            to / "metrics.json",
            to / "confusion.csv",
            to / "calibration.csv",
            values,
            run_statistics,
        )
    found: dict[str, Any] = json.loads((to / "metrics.json").read_text())
    return found


def test_a_known_confusion_is_reported_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = known(tmp_path / "data")
    head = identity(tmp_path / "head")
    found = evaluate(data, head, head, tmp_path / "out")
    model = found["model"]
    assert "head" not in found  # it is the final model
    assert (model["correct"], found["test_images"], found["train_images"]) == (16, 20, 3)
    assert model["accuracy"] == 0.8
    assert (model["accuracy_low"], model["accuracy_high"]) == pytest.approx(
        (0.5840, 0.9193), abs=1e-4
    )
    by_label = {row["label"]: row for row in model["per_class"]}
    assert by_label["ant"] == {
        "label": "ant", "precision": 0.8, "recall": 0.8, "f1": pytest.approx(0.8), "support": 10
    }  # fmt: skip
    assert by_label["cat"]["recall"] == 0.6
    assert by_label["cat"]["precision"] == 0.75
    assert model["most_confused"][0] == {"actual": "cat", "predicted": "ant", "count": 2}
    share = np.exp(4) / (np.exp(4) + 2)
    assert model["expected_calibration_error"] == pytest.approx(share - 0.8, abs=1e-6)
    assert model["loss"] == pytest.approx(-np.log(share) + 0.2 * 4, abs=1e-6)
    assert found["random_weights"] is True
    said = capsys.readouterr().out
    assert "RANDOM WEIGHTS" in said
    assert "58.4 % to 91.9 %" in said

    table = pd.read_csv(tmp_path / "out/confusion.csv")
    counted = pd.crosstab(table["actual"], table["predicted"])
    assert np.array_equal(counted.to_numpy(), CONFUSION)
    bins = pd.read_csv(tmp_path / "out/calibration.csv")
    assert bins["count"].tolist() == [20]
    assert bins["bin"].tolist() == [10]
    assert bins["accuracy"].tolist() == [0.8]
    predictions = read_predictions(tmp_path / "out/predictions.csv", CLASSES)
    assert predictions.model == pytest.approx(predictions.head)
    assert (predictions.rows["predicted"] == table["predicted"]).all()


def test_a_head_of_single_sigmoids_gets_the_share_of_right_outputs_beside_its_accuracy(
    tmp_path: Path,
) -> None:
    """Of a head that says no to every class, two in three outputs are right."""
    data = known(tmp_path / "data")
    dense = {"kind": "dense", "units": 3, "activation": "sigmoid"}
    of = identity_record(head=(dense,))
    weights: Weights = {
        "0.kernel": np.zeros((3, 3), np.float32), "0.bias": np.full(3, -9, np.float32)
    }  # fmt: skip
    head = save(tmp_path / "head", of, weights)
    found = evaluate(data, head, head, tmp_path / "out")["model"]
    assert found["binary_accuracy"] == pytest.approx(found["binary_accuracy_all_negative"])
    assert found["binary_accuracy"] == pytest.approx(2 / 3)
    assert found["accuracy"] == 10 / 20  # the first class, of which there are 10
    softmax = identity(tmp_path / "softmax")
    assert "binary_accuracy" not in evaluate(data, softmax, softmax, tmp_path / "other")["model"]


def test_one_output_is_scored_as_two_probabilities(tmp_path: Path) -> None:
    x = np.array([[-2.0], [-0.5], [1.0], [3.0]], np.float32)
    splits = {name: (x, [0, 1, 1, 1]) for name in ("train", "validation", "test")}
    data = record(tmp_path / "data", splits, ["ant", "bee"])
    dense = {"kind": "dense", "units": 1, "activation": "sigmoid"}
    of = model_record(classes=("ant", "bee"), feature_shape=(1,), head=(dense,))
    weights: Weights = {"0.kernel": np.ones((1, 1), np.float32), "0.bias": np.zeros(1, np.float32)}
    head = save(tmp_path / "head", of, weights)
    found = evaluate(data, head, head, tmp_path / "out")["model"]
    assert found["accuracy"] == 0.75
    assert "binary_accuracy" not in found
    sigmoid = 1 / (1 + np.exp(-x[:, 0].astype(float)))
    truth = np.array([1 - sigmoid[0], *sigmoid[1:]])
    assert found["loss"] == pytest.approx(-np.log(truth).mean(), abs=1e-6)
    told = read_predictions(tmp_path / "out/predictions.csv", ["ant", "bee"])
    np.testing.assert_allclose(told.model, np.stack([1 - sigmoid, sigmoid], axis=1), atol=1e-6)


def test_pretrained_weights_are_not_called_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = {"name": "x", "alpha": 1.0, "weights": "imagenet", "image_size": 9, "cut": None,
                "pooling": "avg"}  # fmt: skip
    data = known(tmp_path / "data", backbone={**backbone, "random_weights": False})
    head = identity(tmp_path / "head", backbone={**backbone, "random_weights": False})
    assert evaluate(data, head, head, tmp_path / "out")["random_weights"] is False
    assert "RANDOM" not in capsys.readouterr().out


def test_two_evaluations_give_the_same_bytes(tmp_path: Path) -> None:
    data = separable(tmp_path / "data", shape=(3,))
    head = identity(tmp_path / "head")
    for name in ("one", "two"):
        evaluate(data, head, head, tmp_path / name)
    for name in OUTPUTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "seconds" not in (tmp_path / "one/metrics.json").read_text()


@pytest.mark.parametrize("k", [3, 5])
def test_top_k_is_left_out_where_it_would_be_all_classes(
    k: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = known(tmp_path / "data")
    head = identity(tmp_path / "head")
    found = evaluate(data, head, head, tmp_path / "out", top_k=k)
    assert not {"top_k", "top_k_accuracy"} & found["model"].keys()
    said = capsys.readouterr().out
    assert "Top-" not in said
    assert "head only" in said
    assert "final model" not in said


def test_weak_numbers_come_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = known(tmp_path / "data")
    head = identity(tmp_path / "head")
    found = evaluate(data, head, head, tmp_path / "out")
    assert found["advice"][0].startswith("Fewer than 10 test images of 'bee' (5), 'cat' (5)")
    assert f"ADVICE: {found['advice'][0]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": ("ant", "bee", "cow")}, "other classes"),
        (
            {"feature_shape": (1, 3), "head": (
                {"kind": "flatten"}, {"kind": "dense", "units": 3, "activation": "softmax"}
            )},
            "reads features of shape (1, 3)",
        ),
    ],
)  # fmt: skip
def test_a_model_of_another_run_is_refused(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    data = known(tmp_path / "data")
    of = identity_record(**change)
    weights = {n: np.zeros(s, np.float32) for n, s in of.weight_shapes().items()}
    other = save(tmp_path / "other", of, weights)
    head = identity(tmp_path / "head")
    with pytest.raises(Exception, match="Nothing was evaluated") as error:
        evaluate(data, head, other, tmp_path / "out")
    assert told in str(error.value)
    assert str(other) in str(error.value)


def test_features_of_another_manifest_are_refused(tmp_path: Path) -> None:
    data, other = known(tmp_path / "data"), separable(tmp_path / "other", shape=(3,))
    shutil.copy(other.manifest, data.manifest)
    head = identity(tmp_path / "head")
    with pytest.raises(Exception, match=r"test rows of .* are not those of the manifest"):
        evaluate(data, head, head, tmp_path / "out")


def test_head_and_evaluation_as_processes_without_tensorflow_in_the_second(tmp_path: Path) -> None:
    data = separable(tmp_path / "data")
    to = tmp_path / "run"
    to.mkdir()
    values = params(to / "params.yaml", train_head__learning_rate=0.01)
    trained = stage(
        "train_head", features=data.features, runtime=RUNTIME, model=to / "head",
        epoch_history=to / "e.csv", batch_history=to / "b.csv",
        run_statistics=to / "run_statistics",
        params=values,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    done = stage(
        "evaluate", images=data.images, manifest=data.manifest, features=data.features,
        head=to / "head", model=to / "head", runtime=RUNTIME, predictions=to / "p.csv",
        metrics=to / "m.json", confusion=to / "c.csv",
        calibration=to / "cal.csv", run_statistics=to / "run_statistics", params=values,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((to / "m.json").read_text())
    assert found["model"]["accuracy"] > 0.95
    assert found["kind"] == "head"
    table = json.loads((to / "run_statistics/runtime.json").read_text())
    assert table["passes_done"] == 0
    assert table["passes_cached"] == 390
    # Two processes of one parent are one run.
    assert {row["stage"] for row in table["stages"] if row["ran"]} == {"train_head", "evaluate"}
    environment = json.loads((to / "run_statistics/environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__
    assert str(tmp_path) not in json.dumps(environment)


def test_evaluate_imports_neither_tensorflow_nor_scikit_learn() -> None:
    code = (
        "import sys, stages.evaluate\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'scipy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_stage_that_did_not_run_counts_no_pass_and_no_second() -> None:
    entries = {
        "extract_features": {"this_run": False, "seconds": 60.0, "ended": 20.5, "passes_done": 90,
                             "passes_cached": 10},
        "fine_tune": {"this_run": True, "seconds": 5.0, "ended": 30.5, "passes_done": 7,
                      "passes_cached": 3},
        "split": {"this_run": True, "seconds": 1.0, "ended": 10.5},
    }  # fmt: skip
    table = passes_table(entries, 120)
    rows = by_stage(table)
    assert list(rows) == ["split", "extract_features", "fine_tune"]  # as they ended
    assert rows["extract_features"] == {
        "stage": "extract_features",
        "ran": False,
        "passes_done": 0,
        "passes_cached": 120,
        "seconds": 0.0,
    }
    assert rows["fine_tune"]["passes_cached"] == 3
    assert (table["passes_done"], table["passes_cached"], table["seconds"]) == (7, 123, 6.0)
    lines = passes_text(table).splitlines()
    assert lines[2].split() == ["extract_features", "recorded", "0", "120", "0.0"]
    assert lines[-1].split() == ["total", "7", "123", "6.0"]


def test_the_table_of_passes_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = known(tmp_path / "data")
    head = identity(tmp_path / "head")
    entry = {"stage": "extract_features", "seconds": 2.0, "passes_done": 20, "passes_cached": 6}
    for run, done in ((run_id(), 20), ("another run", 0)):
        write_json(tmp_path / "out/run_statistics/extract_features.json", {**entry, "run": run})
        evaluate(data, head, head, tmp_path / "out")
        table = json.loads((tmp_path / "out/run_statistics/runtime.json").read_text())
        assert (table["passes_done"], table["passes_cached"]) == (done, 26 - done)
    assert "total" in capsys.readouterr().out

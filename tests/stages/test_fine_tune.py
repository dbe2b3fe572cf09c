from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.files import sha256_tree
from headstart.keras.training import trial
from headstart.training.history import read_epochs
from headstart.training.inputs import TuningImages, check_backbone, read_tuning_images
from headstart.training.model_folder import read_model
from tests.images.made import encoded
from tests.stages import recorded, small_run
from tests.stages.small_run import ROOT, SmallRun, stage
from tests.training.models import record

ONE = ({"kind": "dense", "units": 1, "activation": "sigmoid"},)
TRAINS: dict[str, Any] = {
    "epochs": 3, "unfreeze": 2, "learning_rate": 1e-4, "learning_rate_schedule": "constant",
    "batch_size": 8, "early_stopping_patience": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run.make(tmp_path_factory.mktemp("run") / "files")


def tune(
    run: SmallRun, name: str, params: dict[str, Any], head: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return stage(
        run,
        "fine_tune",
        {"fine_tune": params},
        images=run.images,
        manifest=run.manifest,
        backbone_folder=run.backbone,
        head=head or run.head,
        features=run.features,
        model=run.folder / name,
        epoch_history=run.folder / f"{name}.csv",
        run_statistics=run.folder / f"{name}-statistics",
    )


def run_statistics(run: SmallRun, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (run.folder / f"{name}-statistics" / "fine_tune.json").read_text()
    )
    return found


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_and_the_second_makes_no_pass(run: SmallRun) -> None:
    for name in ("first", "second"):
        done = tune(run, name, TRAINS)
        assert done.returncode == 0, done.stderr
    assert sha256_tree(run.folder / "first") == sha256_tree(run.folder / "second")
    assert (run.folder / "first.csv").read_bytes() == (run.folder / "second.csv").read_bytes()
    first, second = run_statistics(run, "first"), run_statistics(run, "second")
    images = 36  # 24 to train, 12 to validate; none of the test.
    assert (first["passes_done"], first["passes_cached"]) == (images, 0)
    assert (second["passes_done"], second["passes_cached"]) == (0, images)
    model = read_model(run.folder / "first")
    assert model.kind == "fine_tuned"
    assert model.unfrozen_from == "block_15_expand"
    assert "lowered the validation loss, probably not by chance" in model.chosen_because
    assert first["epochs_asked"] == TRAINS["epochs"]
    assert 1 <= len(read_epochs(run.folder / "first.csv")) <= TRAINS["epochs"]


#: Runs the stage, and kills it when the second epoch of the second trial is recorded.
KILLED = """
import os, runpy, signal, sys
from headstart.training.checkpoint import Checkpoint
save, saved = Checkpoint.save, []
def then_die(self, progress):
    save(self, progress)
    saved.append(self.path)
    if len(progress.epochs) == 2 and self.path != saved[0]:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.save = then_die
sys.argv = ["fine_tune", *sys.argv[1:]]
runpy.run_module("stages.fine_tune", run_name="__main__")
"""


def test_a_killed_stage_resumes_and_writes_the_bytes_of_an_uninterrupted_run(
    run: SmallRun, private_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = {**TRAINS, "learning_rate": [1e-5, 1e-4]}
    done = tune(run, "whole", tried)
    assert done.returncode == 0, done.stderr
    real = subprocess.run

    def killed(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "stages.fine_tune"]
        return real([command[0], "-c", KILLED, *command[3:]], **options)

    with monkeypatch.context() as patch:
        patch.setattr("tests.stages.small_run.subprocess.run", killed)
        done = tune(run, "resumed", tried)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((private_store / "checkpoints").glob("*.npz"))) == 2
    assert not (run.folder / "resumed").exists()
    done = tune(run, "resumed", tried)
    assert done.returncode == 0, done.stderr
    for line in ("Trial 1 of 2", "Resumed after epoch 3 of 3.", "Resumed after epoch 2 of 3."):
        assert line in done.stdout
    assert sha256_tree(run.folder / "resumed") == sha256_tree(run.folder / "whole")
    assert (run.folder / "resumed.csv").read_bytes() == (run.folder / "whole.csv").read_bytes()
    assert not list((private_store / "checkpoints").glob("*.npz"))
    trials = run_statistics(run, "resumed")["trials"]
    assert [each["learning_rate"] for each in trials] == tried["learning_rate"]
    best = min(trials, key=lambda each: float(each["validation_loss"]))
    assert (
        f"the best of 2 trials: unfreeze 2, learning_rate {best['learning_rate']:g}" in done.stdout
    )
    epochs = read_epochs(run.folder / "resumed.csv")
    assert epochs["learning_rate"].iloc[0] == pytest.approx(best["learning_rate"])


def test_a_trial_that_diverges_is_no_candidate(run: SmallRun) -> None:
    done = tune(run, "wild", {**TRAINS, "epochs": 1, "learning_rate": [1e-4, 1e30]})
    assert done.returncode == 0, done.stderr
    assert "Trial 2 is not a candidate. Training " in done.stdout
    assert len(run_statistics(run, "wild")["trials"]) == 1
    done = tune(run, "wilder", {**TRAINS, "epochs": 1, "learning_rate": [1e30, 1e31]})
    assert done.returncode == 1
    assert "The learning rate 1e+31 is probably too high" in done.stderr


def test_views_pass_live_and_are_counted(run: SmallRun) -> None:
    done = tune(
        run,
        "augmented",
        {
            **TRAINS,
            "epochs": 2,
            "batch_size": 7,  # The last batch is filled up, at no pass.
            "early_stopping_patience": None,
            "augment": {
                "rotation": 20,
                "width_shift": 0.2,
                "height_shift": 0.2,
                "shear": 0.2,
                "zoom": 0.2,
                "horizontal_flip": True,
                "vertical_flip": False,
                "brightness": 0,
                "contrast": 0,
            },
        },
    )
    assert done.returncode == 0, done.stderr
    notes = run_statistics(run, "augmented")
    assert notes["live_passes"] == 2 * 24
    # Validation is never augmented, so its activations are recorded ones.
    assert notes["passes_done"] + notes["passes_cached"] == 2 * 24 + 12


def test_recorded_views_are_no_images_to_tune_on(tmp_path: Path) -> None:
    x = np.eye(4, dtype=np.float32)
    splits = {"train": (x, [0, 0, 1, 1]), "validation": (x[:2], [0, 1]), "test": (x[:2], [0, 1])}
    data = recorded.record(tmp_path, splits, ["a", "b"], views=np.stack([x, x]))
    found = read_tuning_images(data.manifest, data.features, record(classes=("a", "b"), head=ONE))
    assert len(found.train) == 4
    assert found.features.array("train").shape == (12, 4)
    assert found.labels(found.train).tolist() == [0, 0, 1, 1]


def test_zero_epochs_pass_the_head_through_without_tensorflow(run: SmallRun) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from stages.fine_tune import main\n"
        "from headstart.stage.run_statistics import RunStatistics\n"
        "from headstart.stage.parameters import read_params\n"
        "p = read_params(Path('params.yaml'))\n"
        "assert p.fine_tune.epochs == 0\n"
        f"f = Path({str(run.folder)!r})\n"
        "inputs = [f / name for name in ('images', 'split.csv', 'backbone', 'head', 'features')]\n"
        "main(*inputs,\n"
        "    Path('runtime.txt'), f / 'off', f / 'off.csv', RunStatistics(f / 'j', 'fine_tune'),\n"
        "    p.fine_tune, p.seed, p.compute)\n"
        "print(*sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "keras", "pandas", "ai_edge_litert"} & set(done.stdout.split())
    passed, head = read_model(run.folder / "off"), read_model(run.head)
    assert passed.chosen_because == "fine-tuning is off (epochs: 0)"
    assert passed.kind == "head"
    assert passed.model_copy(update={"chosen_because": head.chosen_because}) == head
    assert (run.folder / "off" / "head.npz").read_bytes() == (run.head / "head.npz").read_bytes()
    assert read_epochs(run.folder / "off.csv").empty


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"unfreeze_by": "layer", "unfreeze": 2}, "must be the name of a layer"),
        ({"unfreeze_by": "block", "unfreeze": "two"}, "must be an integer"),
    ],
)
def test_a_wrong_kind_of_value_is_reported_before_tensorflow(
    run: SmallRun, params: dict[str, Any], expected: str
) -> None:
    done = tune(run, "wrong", {**TRAINS, **params})
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (run.folder / "wrong").exists()


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_training_continues_with_the_class_weights_of_the_head(
    tmp_path: Path, weights: str
) -> None:
    received: list[Any] = []

    class Learner:
        record = SimpleNamespace(image_size=8, gray16_bits=None)
        check_convertible = lower_network = trained_parameters = lambda _: None
        warning = lambda *_: None  # noqa: E731 - one of four

        def fit(self, *arguments: Any, **_: Any) -> None:
            received.extend(arguments)

    content = encoded(small_run.image(0, 0), "PNG")
    rows = pd.DataFrame({"image_id": ["0" * 64] * 2, "shard": 0, "offset": 0, "bytes": 0})
    learner: Any = Learner()
    images: Any = SimpleNamespace(
        train=rows, validation=rows, labels=lambda rows: np.zeros(len(rows))
    )
    reader: Any = SimpleNamespace(read=lambda *_: content)
    params: Any = SimpleNamespace(augment=SimpleNamespace(active=False))
    backbone: Any = None
    given = trial.Given((record(class_weights=weights), {}), backbone, images, reader, 1, 1)
    trial.train(learner, given, params, tmp_path, tmp_path)
    assert received[-1] == weights


@pytest.mark.parametrize("calibration", ["temperature", "none"])
def test_the_model_is_calibrated_as_the_head_was(calibration: str) -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(90) % 3
    features = (np.eye(3)[labels] + generator.normal(size=(90, 3))).astype(np.float32)
    head = record(
        head=({"kind": "dense", "units": 3, "activation": "softmax"},),
        feature_shape=(3,), calibration=calibration,
    )  # fmt: skip
    sure, alone = ({"0.kernel": np.eye(3, dtype=np.float32) * by} for by in (20, 0.1))
    for weights in (sure, alone):
        weights["0.bias"] = np.zeros(3, np.float32)
    images: Any = SimpleNamespace(validation=None, labels=lambda _: labels)
    params: Any = SimpleNamespace(learning_rate=0.001)
    nothing: Any = None
    given = trial.Given((head, alone), nothing, images, nothing, 1, 1)
    (found, each, scores), calm = (
        trial.judged(given, weights, features, params) for weights in (sure, alone)
    )
    calibrated = calibration == "temperature"
    assert bool(found["0.kernel"][0, 0] < 10) is calibrated
    assert bool(each.mean() < 1) is calibrated
    assert (scores.loss < 1) is calibrated
    assert scores.accuracy == calm[2].accuracy


def test_a_model_that_is_no_better_leaves_the_head_with_the_reason(run: SmallRun) -> None:
    done = tune(run, "idle", {**TRAINS, "epochs": 1, "learning_rate": 1e-12})
    assert done.returncode == 0, done.stderr
    model = read_model(run.folder / "idle")
    assert model.kind == "head"
    assert "the head is kept, because" in model.chosen_because
    assert f"Model: head only, {model.chosen_because}" in done.stdout
    found = run_statistics(run, "idle")
    assert found["loss_difference_low"] <= 0 <= found["loss_difference_high"]
    assert found["loss_difference_p"] > 0.2
    assert found["kept"] == "head"


def test_copies_and_images_of_a_group_belong_together() -> None:
    rows = pd.DataFrame({"group": ["a", "a", "", "", ""], "image_id": ["1", "2", "3", "3", "a"]})
    images = TuningImages(rows, rows, SimpleNamespace())  # type: ignore[arg-type]
    assert pd.factorize(np.array(images.groups(rows)))[0].tolist() == [0, 0, 1, 1, 2]


def test_a_head_of_another_backbone_is_refused(run: SmallRun) -> None:
    from headstart._utils.errors import HeadstartError
    from headstart.backbones.record import read_backbone

    record, backbone = read_model(run.head), read_backbone(run.backbone)
    check_backbone(record, backbone)
    other = record.model_copy(
        update={"backbone": record.backbone.model_copy(update={"image_size": 64})}
    )
    with pytest.raises(HeadstartError, match="image_size: 64 and 32"):
        check_backbone(other, backbone)

"""The choice between trials and the head, with trainings that are made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.errors import DivergedError
from headstart.keras.training import fine_tune as module
from headstart.keras.training.trial import Given, Tried
from headstart.training.history import BATCHES, EPOCHS, History
from headstart.training.model_folder import BACKBONE_WEIGHTS, LOWER, UPPER, Scores, read_model
from headstart.training.parameters import FineTuneParams, Tuning
from headstart.training.unfreezing import Cut
from tests.keras.training.test_tuner import params
from tests.training.models import record

IMAGES = 40
HEAD = record(head=({"kind": "dense", "units": 3, "activation": "softmax"},))
WEIGHTS = {"0.kernel": np.zeros((6, 3), np.float32), "0.bias": np.zeros(3, np.float32)}
HISTORY = History(
    pd.DataFrame([[1, 0.5, 0.8, 0.5, 0.8, 1e-4]], columns=list(EPOCHS)),
    pd.DataFrame([[1, 1, 0.5, 0.8]], columns=list(BATCHES)),
    best_epoch=1, stopped_early=False,
)  # fmt: skip


def tuning(rates: list[float]) -> FineTuneParams:
    return FineTuneParams(**{**dict(params(epochs=3)), "learning_rate": rates})


@pytest.fixture
def given() -> Given:
    labels = np.arange(IMAGES, dtype=np.int32) % 3
    images: Any = SimpleNamespace(
        validation=None, labels=lambda _: labels, groups=lambda _: np.arange(IMAGES),
        features=SimpleNamespace(array=lambda _: np.ones((IMAGES, 6), np.float32)),
    )  # fmt: skip
    nothing: Any = None
    return Given((HEAD, WEIGHTS), nothing, images, nothing, 1, 1)


def run(
    folder: Path, given: Given, monkeypatch: pytest.MonkeyPatch, losses: dict[float, float]
) -> module.Tuned:
    """Fine-tune with trials whose mean losses are these, by learning rate; nan diverges."""

    def run_trial(_: Given, trial: Tuning, place: Path) -> Tried:
        loss = losses[trial.learning_rate]
        if np.isnan(loss):
            raise DivergedError(f"{trial.learning_rate:g} is too high.")
        for name in (LOWER, UPPER, BACKBONE_WEIGHTS):
            (place / name).write_text(f"{trial.learning_rate:g}")
        each = np.full(IMAGES, loss) + np.linspace(-0.01, 0.01, IMAGES)
        counts = {"passes_done": 1, "passes_cached": 2, "live_passes": 0, "extraction_seconds": 1.0}
        nothing: Any = None
        weights = {name: value + np.float32(loss) for name, value in WEIGHTS.items()}
        return Tried(
            trial, place, Cut("low", "high", 0), HISTORY, weights, each,
            Scores(loss=loss, accuracy=0.5), counts, nothing,
        )  # fmt: skip

    monkeypatch.setattr(module, "run_trial", run_trial)
    folder.mkdir()
    return module.fine_tune(folder, given, tuning(list(losses)))


def test_the_best_trial_is_kept_with_its_files(
    tmp_path: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The head alone knows nothing: its loss is log(3), 1.0986.
    rates = {0.1: 1.0, 0.2: 0.9, 0.3: float("nan"), 0.4: 0.95}
    tuned = run(tmp_path / "model", given, monkeypatch, rates)
    model = read_model(tmp_path / "model")
    assert model == tuned.record
    assert model.kind == "fine_tuned"
    assert model.validation == Scores(loss=0.9, accuracy=0.5)
    assert model.unfrozen_from == "high"
    assert (tmp_path / "model" / UPPER).read_text() == "0.2"
    assert "the best of 3 trials: unfreeze 1, learning_rate 0.2" in model.chosen_because
    assert [each["learning_rate"] for each in tuned.statistics["trials"]] == [0.1, 0.2, 0.4]
    assert tuned.statistics["trials"][1]["validation_loss"] == pytest.approx(0.9)
    assert tuned.statistics["passes_cached"] == 6
    assert tuned.statistics["loss_difference"] < -0.19
    assert len(tuned.checkpoints) == 3


def test_a_head_that_no_trial_beats_stays_as_it_is(
    tmp_path: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = run(tmp_path / "model", given, monkeypatch, {0.1: 1.2, 0.2: 1.1})
    model = read_model(tmp_path / "model")
    assert model.kind == "head"
    assert "the head is kept" in model.chosen_because
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "head.npz", "labels.json", "model.json"
    ]  # fmt: skip
    assert tuned.statistics["kept"] == "head"
    assert tuned.statistics["loss_difference_p"] > 0.5


def test_one_trial_is_no_choice_and_none_left_is_an_error(
    tmp_path: Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = run(tmp_path / "one", given, monkeypatch, {0.1: 0.9})
    assert "trials" not in tuned.statistics
    assert "trials" not in tuned.record.chosen_because
    with pytest.raises(DivergedError, match=r"0\.2 is too high"):
        run(tmp_path / "none", given, monkeypatch, {0.1: float("nan"), 0.2: float("nan")})

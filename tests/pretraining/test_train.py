from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart._utils.errors import CorruptFileError
from pretraining.settings import TrainParams, rate_at

RECIPE = TrainParams(
    epochs=2,
    warm_up=0,
    cool_down=1,
    batch=16,
    learning_rate=0.002,
    weight_decay=0.01,
    label_smoothing=0.1,
    distillation=4.0,
    averaging=0.9,
    sizes=[32],
    last_sizes=[32],
    least_area=0.5,
    color=0.2,
    gray=0.1,
    held_out=0.1,
    threads=2,
)


Train = Callable[..., tuple[list[dict[str, float]], list[npt.NDArray[np.generic]]]]


def _images() -> Any:
    from pretraining.train import Images

    generator = np.random.Generator(np.random.Philox(key=1))
    return Images(
        generator.integers(0, 256, (32, 32, 32, 3), np.uint8),
        (np.arange(32) % 2).astype(np.int32),
        generator.normal(size=(32, 2, 2, 8)).astype(np.float16),
        classes=2,
    )


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    from pretraining import train as training

    # The process of the tests keeps its own threads.
    monkeypatch.setattr(training, "configure", lambda threads, seed: None)

    def run(
        name: str, recipe: TrainParams = RECIPE
    ) -> tuple[list[dict[str, float]], list[npt.NDArray[np.generic]]]:
        rows: list[dict[str, float]] = []

        def log(given: list[dict[str, float]]) -> None:
            rows[:] = given

        base = training.pretrain(_images(), recipe, 7, tmp_path / name, log)
        return rows, [np.asarray(weight) for weight in base.weights]

    return run


@pytest.mark.slow
def test_two_epochs_are_finite_and_the_same_again_and_after_an_interruption(
    train: Train,
) -> None:
    rows, weights = train("a.npz")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    cut = RECIPE.model_copy(update={"epochs": 1, "cool_down": 0})
    first, _ = train("b.npz", cut)  # Before the cool-down, a longer run is the same run.
    again, same = train("b.npz")
    assert first == again[:1] == rows[:1]
    assert repr(again) == repr(rows)  # As the log shows them.
    assert all(np.array_equal(one, other) for one, other in zip(weights, same, strict=True))


def test_a_checkpoint_of_another_recipe_is_refused(train: Train) -> None:
    train("c.npz", RECIPE.model_copy(update={"epochs": 1, "cool_down": 0}))
    with pytest.raises(CorruptFileError, match="another recipe"):
        train("c.npz", RECIPE.model_copy(update={"learning_rate": 0.1}))
    with pytest.raises(CorruptFileError, match="another recipe"):
        train("c.npz", RECIPE.model_copy(update={"cool_down": 2}))


def test_the_rate_rises_stays_and_falls() -> None:
    recipe = RECIPE.model_copy(update={"epochs": 10, "warm_up": 2, "cool_down": 4})
    rates = [rate_at(position, recipe) / recipe.learning_rate for position in (0, 1, 2, 6, 8, 10)]
    assert rates == pytest.approx([0, 0.5, 1, 1, 0.5, 0])


def test_every_class_is_measured_and_learned() -> None:
    from pretraining.train import held_out

    labels = np.repeat(np.arange(5, dtype=np.int32), 20)
    apart = held_out(labels, 0.1, seed=3)
    assert np.bincount(labels[apart], minlength=5).tolist() == [2] * 5
    assert (held_out(labels, 0.1, seed=3) == apart).all()
    assert (held_out(labels, 0.1, seed=4) != apart).any()

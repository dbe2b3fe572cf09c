"""The estimate that is free of the choice's optimism."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from headstart.selection.optimism import without_optimism


def guesses(trials: int, images: int, accuracy: float, seed: int) -> npt.NDArray[np.bool_]:
    generator = np.random.Generator(np.random.Philox(key=seed))
    return generator.random((trials, images)) < accuracy


def test_the_best_of_equal_trials_is_not_better_than_they_are() -> None:
    errors, apparent = [], []
    for seed in range(20):
        found = without_optimism(guesses(100, 200, 0.8, seed), seed)
        errors.append(found.accuracy - 0.8)
        apparent.append(found.apparent - 0.8)
    assert np.mean(apparent) > 0.05
    assert abs(np.mean(errors)) < 0.01


def test_a_trial_that_is_really_better_is_believed() -> None:
    right = guesses(30, 400, 0.6, 1)
    right[7] = guesses(1, 400, 0.9, 2)[0]
    found = without_optimism(right, 0)
    assert found.accuracy == pytest.approx(right[7].mean(), abs=0.02)
    assert found.low < found.accuracy < found.high


def test_one_trial_has_no_optimism() -> None:
    right = guesses(1, 300, 0.7, 3)
    assert without_optimism(right, 0).accuracy == pytest.approx(right.mean(), abs=0.01)


def test_it_depends_on_the_seed_alone() -> None:
    right = guesses(5, 50, 0.7, 4)
    assert without_optimism(right, 1) == without_optimism(right, 1)
    assert without_optimism(right, 1) != without_optimism(right, 2)


def test_a_single_image_says_nothing() -> None:
    found = without_optimism(np.ones((3, 1), np.bool_), 0)
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(("accuracy", "images"), [(0.98, 40), (0.98, 100), (0.75, 100)])
def test_the_truth_lies_within_the_interval_as_often_as_promised(
    accuracy: float, images: int
) -> None:
    """Trials that make mostly the same mistakes, some of them none at all."""
    inside = []
    for seed in range(60):
        generator = np.random.Generator(np.random.Philox(key=seed))
        hard = generator.normal(size=images) * 0.95
        own = generator.normal(size=(20, images)) * np.sqrt(1 - 0.95**2)
        found = without_optimism(hard + own < NormalDist().inv_cdf(accuracy), seed)
        inside.append(found.low <= accuracy <= found.high)
    assert sum(inside) >= 55  # 57 are expected of a 95 % interval.

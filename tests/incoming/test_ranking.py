from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.audit.vectors import Whole
from headstart.incoming import ranking
from headstart.incoming.ranking import rank, uncertainty

NONE = np.empty((0, 3), np.int16)
SURE, UNSURE = (0.98, 0.01, 0.01), (0.4, 0.39, 0.21)


def probabilities(*rows: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32)


def vectors(*rows: list[int]) -> Whole:
    return np.array(rows, np.int16)


def test_uncertainty_is_the_margin_of_the_two_most_likely_classes() -> None:
    found = uncertainty(probabilities(SURE, UNSURE, (0.5, 0.5, 0.0)))
    assert found.tolist() == [30, 990, 1000]


def test_unsure_images_come_before_sure_ones() -> None:
    values = vectors([500, 0, 0], [0, 500, 0], [0, 0, 500])
    assert rank(probabilities(SURE, UNSURE, SURE), values, NONE, 1).tolist() == [1]


def test_a_second_frame_of_one_scene_waits_for_another_scene() -> None:
    values = vectors([500, 1, 0], [500, 2, 0], [500, 3, 0], [0, 0, 500])
    found = rank(probabilities(UNSURE, UNSURE, UNSURE, (0.5, 0.3, 0.2)), values, NONE, 4).tolist()
    assert found[1] == 3
    assert sorted(found) == [0, 1, 2, 3]


def test_images_beyond_the_candidates_follow_by_uncertainty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "_MOST", 1)
    values = vectors([500, 0, 0], [0, 500, 0], [0, 0, 500])
    found = rank(probabilities(SURE, UNSURE, (0.6, 0.3, 0.1)), values, NONE, 5)
    assert found.tolist() == [1, 2, 0]


def test_an_image_like_a_labeled_one_waits() -> None:
    values = vectors([500, 0, 0], [0, 500, 0], [0, 450, 0], [0, 0, 400])
    found = rank(probabilities(UNSURE, UNSURE, UNSURE, UNSURE), values, values[1:2], 4)
    assert found.tolist()[:2] == [0, 3]


def test_candidates_are_spread_from_the_least_sure_to_the_surest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "_MOST", 2)
    values = vectors([500, 0, 0], [0, 500, 0], [0, 450, 0], [0, 0, 400])
    rows = probabilities((0.4, 0.39, 0.21), (0.5, 0.4, 0.1), (0.6, 0.3, 0.1), SURE)
    assert rank(rows, values, NONE, 2).tolist() == [0, 2]


def slow_cover(
    likeness: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float64],
    covered: npt.NDArray[np.float32],
) -> list[int]:
    chosen = list[int]()
    for _ in weights:
        gains = [
            -1.0 if i in chosen else float(np.maximum(likeness[i] - covered, 0) @ weights)
            for i in range(len(weights))
        ]
        chosen.append(int(np.argmax(gains)))
        covered = np.maximum(covered, likeness[chosen[-1]])
    return chosen


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_few_gains_are_computed_again_and_the_choice_is_the_same(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    likeness = random.integers(0, 9, (count, count)).astype(np.float32)
    likeness = np.maximum(likeness, likeness.T)
    weights = random.integers(0, 5, count).astype(np.float64)
    covered = random.integers(0, 5, count).astype(np.float32)
    found = ranking._cover(likeness, weights, covered, count)
    assert found.tolist() == slow_cover(likeness, weights, covered)

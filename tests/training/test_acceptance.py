from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from headstart.training.acceptance import LEVEL, Comparison, compare, reason
from headstart.training.model_folder import Scores


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=4))


def compared(differences: np.ndarray, seed: int = 0) -> Comparison:
    alone = np.ones(len(differences))
    return compare([alone + differences], alone, np.arange(len(differences)), seed)


def test_a_model_that_is_better_on_most_images_is_accepted(generator: np.random.Generator) -> None:
    differences = generator.normal(-0.1, 0.2, 100)
    found = compared(differences)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-9)
    assert found.low < found.difference < found.high < 0
    assert found.p < 0.001
    assert found.accepted
    assert found.images == 100


def test_the_test_and_its_interval_are_those_of_the_literature(
    generator: np.random.Generator,
) -> None:
    differences = generator.normal(-0.05, 0.2, 80)
    found = compared(differences)
    exact = stats.permutation_test(
        (differences, np.zeros(80)), lambda a, b: np.mean(a - b), permutation_type="samples",
        n_resamples=9_999, alternative="less", rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.p == pytest.approx(exact.pvalue, abs=0.02)
    # Of differences that are normal, the interval is nearly Student's.
    wanted = stats.ttest_1samp(differences, 0).confidence_interval(1 - 2 * LEVEL)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.004)


def test_equally_good_models_are_told_apart_as_rarely_as_promised(
    generator: np.random.Generator,
) -> None:
    """Heavy tails, as log losses have them; every fourth draw has a skew."""
    accepted = 0
    for number in range(100):
        drawn = generator.standard_t(3, 30) if number % 4 else generator.exponential(1, 30) - 1
        accepted += compared(drawn, number).accepted
    assert accepted <= 18  # 10 are expected.


def test_the_best_of_many_is_accepted_no_more_often_than_a_single_one(
    generator: np.random.Generator,
) -> None:
    alone, accepted = np.ones(40), 0
    for number in range(100):
        shared = generator.normal(0, 0.2, 40)
        trials = [alone + shared + generator.normal(0, 0.2, 40) for _ in range(6)]
        found = compare(trials, alone, np.arange(40), number)
        assert found.difference == pytest.approx(min(each.mean() for each in trials) - 1)
        accepted += found.accepted
    assert accepted <= 18
    single = alone + generator.normal(-0.1, 0.2, 40)
    by_itself = compare([single], alone, np.arange(40), 1)
    copied = compare([single, single], alone, np.arange(40), 1)
    assert copied == by_itself
    beside_a_bad_one = compare([alone * 2, single], alone, np.arange(40), 1)
    assert by_itself.p < beside_a_bad_one.p <= 3 * by_itself.p


@pytest.mark.parametrize("n", [4, 9, 40])
def test_interval_and_p_value_never_contradict_each_other(
    n: int, generator: np.random.Generator
) -> None:
    for number in range(60):
        found = compared(generator.normal(-0.5, 0.8, n), number)
        assert found.accepted is (found.high < 0)


@pytest.mark.parametrize(
    "differences",
    [np.zeros(20), np.array([-5.0] + [0.0] * 19), np.array([-5.0, -5.0] + [0.0] * 18)],
    ids=["none", "one image", "two images"],
)
def test_a_difference_of_few_images_proves_nothing(differences: np.ndarray) -> None:
    found = compared(differences)
    assert not found.accepted
    assert found.p > 0.2


def test_with_three_images_nothing_is_certain() -> None:
    found = compared(np.array([-1.0, -2.0, -1.5]))
    assert not found.accepted
    assert found.recorded() == {
        "loss_difference": -1.5,
        "loss_difference_low": None,
        "loss_difference_high": None,
        "loss_difference_p": found.p,
    }
    assert compared(np.array([-1.0, -2.0, -1.5, -3.0])).accepted


def test_images_of_the_same_object_count_as_one(generator: np.random.Generator) -> None:
    single = generator.normal(-0.1, 0.25, 12)
    copies, ones = np.repeat(single, 10), np.ones(120)
    grouped = compare([ones + copies], ones, np.repeat(np.arange(12), 10), 0)
    each = compare([ones + copies], ones, np.arange(120), 0)
    assert grouped.p == compared(single).p
    assert (grouped.low, grouped.high) == pytest.approx(compared(single)[1:3])
    assert each.high - each.low < (grouped.high - grouped.low) / 2


def test_the_models_are_treated_alike_and_the_result_repeats(
    generator: np.random.Generator,
) -> None:
    differences = generator.normal(-0.1, 0.2, 50)
    found, turned = compared(differences), compared(-differences)
    assert found == compared(differences)
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )
    assert not turned.accepted


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (Comparison(-0.1, -0.2, -0.01, 0.03, 90), "fine-tuning lowered the validation loss, prob"),
        (Comparison(-0.1, -0.3, 0.1, 0.3, 90), "head is kept, because the lower validation loss"),
        (Comparison(0.1, 0.05, 0.3, 0.9, 90), "head is kept, because fine-tuning did not lower"),
    ],
)
def test_the_reason_has_the_figures_that_decided(comparison: Comparison, words: str) -> None:
    tuned, head = Scores(loss=0.4, accuracy=0.9), Scores(loss=0.5, accuracy=0.8)
    said = reason(comparison, tuned, head, 2, 5)
    for part in (
        words, "0.5000 -> 0.4000", f"{comparison.difference:+.4f} per image",
        "80 % interval",
        f"p {comparison.p:.4f}, 90 images", "accuracy 0.8000 -> 0.9000 (epoch 2 of 5)",
    ):  # fmt: skip
        assert part in said

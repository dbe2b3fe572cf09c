"""The choice of a backbone: by validation, within budgets."""

from __future__ import annotations

import pytest

from headstart.evaluation.comparison import mcnemar
from headstart.selection.choice import Budget, choose
from tests.selection.made import measured

FAST, SLOW = measured("mobilenet", 80, 2.0, 3.0), measured("mobilenet_v2", 95, 9.0, 9.0)
MEDIUM = measured("mobilenet_v2@alpha=0.35", 93, 4.0, 2.0)
ALL = [FAST, SLOW, MEDIUM]


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(), SLOW),
        (Budget(milliseconds=5), MEDIUM),
        (Budget(milliseconds=3), FAST),
        (Budget(megabytes=2.5), MEDIUM),
        (Budget(milliseconds=3, megabytes=2.5), None),
        (Budget(milliseconds=9.0, megabytes=9.0), SLOW),
    ],
)
def test_the_highest_accuracy_within_the_budget_is_chosen(budget: Budget, chosen: object) -> None:
    choice = choose(ALL, budget)
    assert choice.chosen is chosen
    assert choice.best is SLOW


def test_of_equal_ones_the_smaller_file_is_chosen() -> None:
    one, other = measured("mobilenet", 90, 1.0, 8.0), measured("vgg16", 90, 5.0, 7.0)
    assert choose([one, other], Budget()).chosen is other


def test_test_scores_have_no_part() -> None:
    good = measured("mobilenet", 99, 1.0).validation
    object.__setattr__(FAST, "test", good)
    try:
        assert choose(ALL, Budget()).chosen is SLOW
    finally:
        object.__setattr__(FAST, "test", None)


def test_others_are_compared_with_the_best_image_by_image() -> None:
    choice = choose(ALL, Budget())
    assert choice.against_best(SLOW) is None
    assert choice.against_best(MEDIUM) == mcnemar(2, 0)
    apart = measured("vgg16", 90, 1.0, shifted=10)
    test = choose([SLOW, apart], Budget()).against_best(apart)
    assert test == mcnemar(10, 5)


def test_a_faster_one_that_may_be_as_good_is_named() -> None:
    assert choose(ALL, Budget()).frugal() is MEDIUM
    assert choose([FAST, SLOW], Budget()).frugal() is None  # 15 images fewer
    assert choose(ALL, Budget(milliseconds=5)).frugal() is None
    assert choose([FAST], Budget(megabytes=1)).frugal() is None

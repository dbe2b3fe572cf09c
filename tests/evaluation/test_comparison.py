"""McNemar's test against the enumeration of every way that the pairs could have fallen."""

from __future__ import annotations

from itertools import product

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.evaluation.comparison import mcnemar, paired

LABELS = st.sampled_from("ab")


def frame(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image_id", "label", "predicted"], dtype="str")


@given(st.integers(0, 7), st.integers(0, 7))
def test_the_chances_are_those_of_all_ways_that_the_pairs_could_fall(b: int, c: int) -> None:
    ways = [sum(way) for way in product((0, 1), repeat=b + c)]
    either = sum(abs(2 * k - b - c) >= abs(b - c) for k in ways) / len(ways)
    behind = sum(k >= b for k in ways) / len(ways)
    test = mcnemar(b, c)
    assert test.p == pytest.approx(either, rel=1e-12)
    assert test.p_worse == pytest.approx(behind, rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_it_is_a_probability_and_the_order_swaps_only_the_side(b: int, c: int) -> None:
    test, turned = mcnemar(b, c), mcnemar(c, b)
    assert 0 < test.p <= 1
    assert 0 < test.p_worse <= 1
    assert test.p == turned.p
    # Both sides count the drawn case.
    assert test.p_worse + turned.p_worse >= 1 - 1e-12
    assert mcnemar(b + 1, c).p_worse <= test.p_worse * (1 + 1e-12)


@pytest.mark.parametrize(("b", "c"), [(3, 9), (10_000, 10_000), (10_150, 9_850), (20_150, 19_850)])
def test_it_is_scipys_binomial_test(b: int, c: int) -> None:
    from scipy.stats import binomtest

    found = mcnemar(b, c)
    assert found.p == pytest.approx(binomtest(b, b + c).pvalue, rel=1e-9)
    worse = binomtest(c, b + c, alternative="less").pvalue
    assert found.p_worse == pytest.approx(worse, rel=1e-9)


def test_a_known_value() -> None:
    # 1 against 9: 2 * (1 + 10) / 1024.
    assert mcnemar(1, 9).p == 22 / 1024
    assert mcnemar(9, 1).p_worse == 11 / 1024
    assert mcnemar(0, 0).p == mcnemar(0, 0).p_worse == 1


@given(st.lists(st.tuples(LABELS, LABELS, LABELS), max_size=20))
def test_the_counts_add_up_to_the_shared_images(rows: list[tuple[str, str, str]]) -> None:
    first = frame([(f"{i}", label, guess) for i, (label, guess, _) in enumerate(rows)])
    second = frame([(f"{i}", label, guess) for i, (label, _, guess) in enumerate(rows)])
    found = paired(first, second)
    assert found.shared == len(rows)
    assert found.both + found.first_only == sum(label == guess for label, guess, _ in rows)
    assert found.both + found.second_only == sum(label == guess for label, _, guess in rows)
    assert paired(second, first).first_only == found.second_only


def test_only_images_of_both_test_sets_count_and_copies_once() -> None:
    first = frame([("1", "a", "a"), ("1", "a", "a"), ("2", "a", "a"), ("3", "a", "b")])
    second = frame([("1", "a", "b"), ("2", "a", "a"), ("4", "a", "a")])
    found = paired(first, second)
    assert (found.first, found.second, found.alone, found.shared) == (3, 3, 2, 2)
    assert (found.first_only, found.second_only, found.relabeled) == (1, 0, 0)
    assert paired(first, second.iloc[:0]).shared == 0


def test_both_are_judged_by_the_label_of_the_second() -> None:
    # 1: relabeled to what the first predicted; 2: to a class that it did not know; 3: as it was.
    first = frame([("1", "a", "b"), ("2", "a", "a"), ("3", "a", "a"), ("4", "a", "a")])
    second = frame([("1", "b", "b"), ("2", "c", "c"), ("3", "a", "b"), ("4", "a", "a")])
    found = paired(first, second)
    assert (found.both, found.first_only, found.second_only, found.neither) == (2, 1, 1, 0)
    assert (found.relabeled, found.shared, found.alone) == (2, 4, 0)
    rest = paired(first, second, relabeled=False)
    assert (rest.both, rest.first_only, rest.second_only, rest.shared) == (1, 1, 0, 2)
    assert rest.relabeled == 2


def test_an_image_under_two_labels_counts_once_for_each() -> None:
    first = frame([("1", "a", "a")])
    second = frame([("1", "a", "b"), ("1", "b", "b")])
    found = paired(first, second)
    assert (found.first_only, found.second_only, found.shared) == (1, 1, 2)
    assert (found.relabeled, found.alone) == (1, 0)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.training.labels import with_capitals


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alien", "Alien"),
        ("granny_smith", "Granny Smith"),
        ("golden-retriever", "Golden-Retriever"),
        ("apple 6 (red)", "Apple 6 (Red)"),
        ("BMW", "BMW"),  # str.title would make it Bmw,
        ("cat's eye", "Cat's Eye"),  # and this Cat'S Eye.
        ("3rd", "3rd"),
        ("äpfel", "Äpfel"),
        ("__x__", "X"),
        ("_", "_"),
    ],
)
def test_a_name_as_a_title_shows_it(name: str, shown: str) -> None:
    assert with_capitals([name]) == [shown]


def test_names_that_would_become_the_same_stay_as_they_are() -> None:
    names = ["Alien", "a_b", "a b", "alien", "cat"]
    assert with_capitals(names) == ["Alien", "a_b", "a b", "alien", "Cat"]


@given(st.sets(st.text(min_size=1)))
def test_as_many_names_are_distinct_as_before(names: set[str]) -> None:
    shown = with_capitals(sorted(names))
    assert len(set(shown)) == len(names)
    assert all(shown)


@given(st.sets(st.text("aA_ -b", min_size=1, max_size=4), max_size=30))
def test_names_that_are_nearly_alike_stay_distinct(names: set[str]) -> None:
    assert len(set(with_capitals(sorted(names)))) == len(names)

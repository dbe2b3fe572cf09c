"""Streams by name: the same everywhere, and independent of each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headstart._utils import seeds


def test_the_numbers_of_a_release_never_change() -> None:
    # A change here would move images between the splits of every existing project.
    assert seeds.derive(42, "split", "a") == 0x1531EE0BB20D7BDF


@given(st.integers(0, 2**62), st.text(), st.text())
def test_uniform_is_in_the_unit_interval_and_distinguishes_names(
    seed: int, first: str, second: str
) -> None:
    value = seeds.uniform(seed, first)
    assert 0 <= value < 1
    if first != second:
        assert value != seeds.uniform(seed, second)


def test_names_are_not_just_joined() -> None:
    assert seeds.derive(1, "a", "b") != seeds.derive(1, "ab")
    assert seeds.derive(1, "1") != seeds.derive(1, 1)

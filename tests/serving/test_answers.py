from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headstart.serving.results import answer, shortest

CLASSES = ("ant", "bee", "cat")


def test_the_likeliest_come_first_and_ties_go_by_name() -> None:
    said = answer(np.array([0.25, 0.5, 0.25], np.float32), CLASSES, top=9)
    assert [(one.label, one.probability) for one in said.guesses] == [
        ("bee", 0.5),
        ("ant", 0.25),
        ("cat", 0.25),
    ]
    assert said.label == "bee"


def test_below_the_threshold_there_is_no_label_but_still_a_guess() -> None:
    row = np.array([0.1, 0.7, 0.2], np.float32)
    assert answer(row, CLASSES, 1, 0.7).label == "bee"
    said = answer(row, CLASSES, 1, 0.71)
    assert (said.label, said.guesses[0].label) == (None, "bee")


@given(st.floats(0, 1, width=32))
def test_a_probability_reads_back_as_the_same_float32(value: float) -> None:
    exact = np.float32(value)
    assert np.float32(json.loads(json.dumps(shortest(exact)))) == exact

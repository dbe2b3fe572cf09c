from __future__ import annotations

import re

import pytest
from ruamel.yaml import YAML

from headstart.datasets import advice
from headstart.datasets.advice import ADVICE, Known
from tests.conftest import ROOT


def known(features: int | None = None, **counts: tuple[int, int, int]) -> Known:
    splits = ("train", "validation", "test")
    of = {split: {name: row[i] for name, row in counts.items()} for i, split in enumerate(splits)}
    return Known(of, features)


ENOUGH = known(1_280, cat=(2_000, 200, 200), dog=(1_900, 5, 10))


def test_enough_images_need_no_advice() -> None:
    assert advice.advice(ENOUGH) == []
    assert advice.advice(known(cat=(20, 5, 10), dog=(20, 5, 10))) == []


@pytest.mark.parametrize(
    ("given", "function", "said"),
    [
        (known(cat=(90, 9, 9), dog=(80, 9, 10)), advice.few_test, "test images of 'cat' (9):"),
        (
            known(cat=(90, 4, 10), dog=(80, 0, 10)),
            advice.few_validation,
            "of 'dog' (0), 'cat' (4):",
        ),
        (known(cat=(100, 9, 10), dog=(5, 9, 10)), advice.rare_class, "of 'cat' (100): 'dog' (5)."),
        (
            known(1_280, cat=(600, 60, 60), dog=(679, 60, 60)),
            advice.few_images,
            "1,279 training images and 1,280 features",
        ),
    ],
)
def test_what_is_too_few_is_named(given: Known, function: object, said: str) -> None:
    [found] = advice.advice(given)
    assert said in found
    assert [each(given) for each in ADVICE if each is function] == [found]


def test_the_parameters_that_it_names_exist() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    weak = known(1_280, cat=(100, 1, 1), dog=(2, 1, 1))
    found = advice.advice(weak)
    assert len(found) == len(ADVICE)
    for sentence in found:
        named = re.findall(r"`([a-z_]+)\.([a-z_]+)", sentence)
        assert named
        for section, key in named:
            assert key in params[section]


def test_names_are_safe_for_a_terminal_and_not_too_many() -> None:
    hundred = known(None, **{f"class {number}": (10, 1, 1) for number in range(100)})
    assert all(len(line) < 500 for line in advice.lines(advice.advice(hundred)))
    assert "\x1b" not in "".join(
        advice.lines(advice.advice(known(None, **{"\x1b[31m": (9, 9, 9)})))
    )

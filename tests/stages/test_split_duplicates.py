from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.datasets.groups import group_names
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split
from tests.datasets.made import Image, image_id, manifest

TOGETHER = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")
TRAIN = TOGETHER.model_copy(update={"duplicates": "train"})
IGNORE = TOGETHER.model_copy(update={"duplicates": "ignore"})


def groups_of(*groups: list[int]) -> dict[str, str]:
    return {
        image_id(each): min(image_id(one) for one in group) for group in groups for each in group
    }


def rows(of_each: int, predefined: str = "", start: int = 0) -> list[Image]:
    return [
        Image(start + number, label, predefined)
        for label, start in (("ant", start), ("bee", start + 1000))
        for number in range(of_each)
    ]


@given(
    st.lists(
        st.lists(st.integers(0, 59), min_size=2, max_size=4, unique=True), min_size=1, max_size=6
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_no_group_of_duplicates_is_in_two_splits(groups: list[list[int]], seed: int) -> None:
    seen: set[int] = set()
    apart = []
    for group in groups:
        if len(fresh := [each for each in group if each not in seen]) > 1:
            apart.append(fresh)
        seen |= set(group)
    division = split(manifest(rows(60)), TOGETHER, seed, groups_of(*apart))
    of = dict(zip(division.manifest["image_id"], division.manifest["split"], strict=True))
    assert not division.together.released
    for group in apart:
        assert len({of[image_id(each)] for each in group}) == 1
    assert set(of.values()) == {"train", "validation", "test"}


def test_a_group_of_the_source_keeps_its_name_and_takes_in_the_duplicates() -> None:
    images = manifest([Image(1, "ant", "", "walk"), Image(2, "ant"), Image(3, "ant")])
    names = dict(zip(images["image_id"], group_names(images, groups_of([1, 2])), strict=True))
    assert names == {image_id(1): "walk", image_id(2): "walk", image_id(3): image_id(3)}


def test_without_duplicates_nothing_moves() -> None:
    images = manifest(rows(40))
    plain = split(images, TOGETHER, 42).manifest
    assert split(images, IGNORE, 42, groups_of([0, 1], [2, 3])).manifest.equals(plain)


def test_predefined_splits_that_leak_are_reported_and_kept() -> None:
    images = manifest([*rows(30, "train"), *rows(10, "test", 100)])
    division = split(images, TOGETHER, 42, groups_of([0, 1, 100]))
    of = dict(zip(division.manifest["image_id"], division.manifest["split"], strict=True))
    assert of[image_id(100)] == "test"
    assert of[image_id(0)] == of[image_id(1)] != "test"
    assert division.together.leaking == 3
    assert "`split.duplicates: train`" in division.describe()


def test_the_remedy_moves_them_to_train() -> None:
    images = manifest([*rows(30, "train"), *rows(10, "test", 100)])
    division = split(images, TRAIN, 42, groups_of([0, 1, 100]))
    of = dict(zip(division.manifest["image_id"], division.manifest["split"], strict=True))
    assert {of[image_id(each)] for each in (0, 1, 100)} == {"train"}


def test_a_large_series_stays_in_train() -> None:
    for seed in range(20):
        division = split(manifest(rows(60)), TOGETHER, seed, groups_of(list(range(25))))
        of = dict(zip(division.manifest["image_id"], division.manifest["split"], strict=True))
        assert {of[image_id(each)] for each in range(25)} == {"train"}
    assert "Large series of near duplicates: 1" in division.describe()


def test_a_class_that_is_one_series_is_split_all_the_same_and_reported() -> None:
    images = manifest(rows(40))
    division = split(images, TOGETHER, 42, groups_of(list(range(40))))
    assert division.metrics()["duplicates"] == {
        "groups": 0,
        "images": 0,
        "series_in_train": 0,
        "in_several_predefined_splits": 0,
        "classes_not_held_together": ["ant"],
    }
    assert "not held together in: ant" in division.describe()
    assert set(division.manifest["split"]) == {"train", "validation", "test"}


@pytest.mark.parametrize(("one", "other"), list(combinations(range(3), 2)))
def test_the_order_of_the_rows_does_not_matter(one: int, other: int) -> None:
    images = manifest(rows(30))
    groups = groups_of([one, other, 7], [12, 13])
    backward = dict(reversed(groups.items()))
    assert split(images, TOGETHER, 1, groups).manifest.equals(
        split(images, TOGETHER, 1, backward).manifest
    )

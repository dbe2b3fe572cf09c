"""Views of images pass once each, whatever runs, batches and threads they are computed in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.features.extraction import Passes, extract
from headstart.features.forward_passes import Engine, ShardImages
from headstart.features.store import FeatureStore, split_key, view_key
from headstart.features.views import RecordedViews
from headstart.images.augmentation import augment
from headstart.images.augmentation_parameters import AugmentParams
from tests.features.test_extraction import (
    RECORD,
    SHAPE,
    SIZE,
    Counting,
    Memory,
    content_of,
    decode,
    network,
    rows,
)
from tests.stages.small_run import extract_params

PARAMS = extract_params(views=3)


def run(numbers: list[int], views: RecordedViews, base: Counting, **options: Any) -> Passes:
    reader = Memory()
    table = rows(numbers, reader)
    engine = Engine(base.make, SIZE, None, options.pop("batch", 1))
    images = ShardImages(table, reader)
    with FeatureStore(views.record(RECORD), SHAPE) as store:
        passes = extract(images, engine, store, "Test", decode=decode, views=views, **options)
    assert len(reader.reads) <= max(passes.done, 0)
    return passes


def test_the_key_of_an_image_is_its_id_and_a_view_adds_its_number() -> None:
    name = "ab" * 32
    assert view_key(name, 0) == name
    keys = [view_key(name, view) for view in (0, 1, 2, 255, 1000)]
    assert [split_key(key) for key in keys] == [(name, view) for view in (0, 1, 2, 255, 1000)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "options",
    [{"workers": 1}, {"workers": 4}, {"workers": 3, "batch": 7}, {"workers": 2, "batch": 1000}],
)
def test_each_view_is_the_network_of_its_pixels(options: dict[str, int]) -> None:
    views, base = RecordedViews.of(PARAMS, 42), Counting()
    passes = run(list(range(20)), views, base, **options)
    assert (passes.done, passes.cached, passes.images) == (60, 0, 60)
    assert base.passes == 60
    assert str(passes).startswith("60 views of images: 60 passed through the backbone")
    with FeatureStore(views.record(RECORD), SHAPE) as store:
        assert store.passes == 60
        for number, name in enumerate(rows(list(range(20)))["image_id"]):
            plain = decode(content_of(number), SIZE)
            for view in (1, 2, 3):
                pixels = augment(plain, views.params, views.seed, name, view)
                expected = network(pixels[None])[0]
                assert store.get(view_key(name, view)).tobytes() == expected.tobytes()


def test_an_image_is_read_once_for_all_of_its_views() -> None:
    reader, views = Memory(), RecordedViews.of(PARAMS, 42)
    table = rows(list(range(10)), reader)
    with FeatureStore(views.record(RECORD), SHAPE) as store:
        engine = Engine(Counting().make, SIZE, None)
        extract(ShardImages(table, reader), engine, store, "Test", decode=decode, views=views)
    assert sorted(reader.reads) == sorted(table["image_id"])


def test_what_is_asked_for_more_is_what_passes() -> None:
    def views(count: int = 3, seed: int = 42, **changes: Any) -> RecordedViews:
        params = AugmentParams(**{**PARAMS.augment.model_dump(), **changes})
        return RecordedViews.of(extract_params(views=count, augment=params), seed)

    base, numbers = Counting(), list(range(10))
    assert run(numbers, views(2), base).done == 20
    assert run(numbers, views(3), base).done == 10
    assert run(numbers, views(1), base).done == 0
    assert run([*numbers, 50, 51], views(3), base).done == 6
    assert run([*numbers, 3, 3], views(3), base).cached == 30
    assert run(numbers, views(2, rotation=21.0), base).done == 20
    assert run(numbers, views(2, seed=43), base).done == 20
    assert base.passes == 76


def test_views_and_images_lie_in_different_stores() -> None:
    views = RecordedViews.of(PARAMS, 42)
    record = views.record({**RECORD, "view": 0, "view_seed": None})
    assert record["view"] != 0
    assert record["augment"]["rotation"] == PARAMS.augment.rotation
    assert record["view_seed"] == views.seed != 42


def test_a_view_that_is_the_image_itself_is_not_recorded() -> None:
    flip: dict[str, Any] = dict.fromkeys(PARAMS.augment.model_dump(), 0.0)
    flip["vertical_flip"] = False
    params = AugmentParams(**{**flip, "horizontal_flip": True})
    views = RecordedViews.of(extract_params(views=8, augment=params), 42)
    names = list(rows(list(range(30)))["image_id"])
    assert {len(views.keys(name)) for name in names} <= {0, 1}
    base = Counting()
    assert run(list(range(30)), views, base).done == sum(len(views.keys(name)) for name in names)
    plain = np.zeros((4, 4, 3), np.uint8)
    plain[:, :2] = 255
    for name in names:
        for view in range(1, 9):
            same = np.array_equal(views.pixels(plain, name, view), plain)
            assert same == (views.alike(name, view) == 0)

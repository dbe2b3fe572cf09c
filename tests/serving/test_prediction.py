from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.machine import cores
from headstart.images.decode import Limits
from headstart.serving import prediction
from headstart.serving.inputs import Input, expand
from headstart.serving.models import Classifier
from headstart.serving.models import load_classifier as load
from headstart.serving.prediction import predict
from tests.downloads.server import serving
from tests.serving import models


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load(models.shared(tmp_path_factory))


def labels(outcomes: Iterator[object], classifier: Classifier) -> list[str | None]:
    found: list[str | None] = []
    for one in outcomes:
        row = getattr(one, "output", None)
        found.append(None if row is None else classifier.classes[int(np.argmax(row))])
    return found


def test_outcomes_come_in_the_order_of_the_inputs(classifier: Classifier, tmp_path: Path) -> None:
    expected: list[str | None] = []
    for number in range(60):
        color = list(models.COLORS)[number % 3]
        broken = number % 7 == 3
        # Of very different sizes, so that threads end out of order.
        content = models.colored(color, side=400 if number % 5 == 0 else 20, seed=number)
        (tmp_path / f"{number:03}.png").write_bytes(content[:200] if broken else content)
        expected.append(None if broken else color)
    listing = expand([str(tmp_path)])
    assert labels(predict(classifier, listing.inputs, Limits()), classifier) == expected


def test_a_batch_with_broken_ones_gives_the_others_their_own_rows(
    classifier: Classifier, tmp_path: Path
) -> None:
    batched = replace(classifier, batch=8)
    names = ["red", "", "blue", "", "green", "red", "", "", "", "blue"]
    for number, name in enumerate(names):
        content = models.colored(name) if name else b"no image"
        (tmp_path / f"{number}.png").write_bytes(content)
    found = list(predict(batched, expand([str(tmp_path)]).inputs, Limits(), keep=True))
    assert labels(iter(found), classifier) == [name or None for name in names]
    assert [bool(one.content) for one in found] == [bool(name) for name in names]
    assert [one.fault.reason for one in found if one.fault] == ["not_an_image"] * 5


def test_addresses_are_fetched(classifier: Classifier) -> None:
    with serving(lambda request: request.serve(models.colored("blue"))) as (url, _):
        inputs = expand([f"{url}/{number}.png" for number in range(12)]).inputs
        assert labels(predict(classifier, inputs, Limits()), classifier) == ["blue"] * 12


def test_no_more_is_read_ahead_than_a_few_images(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(one: Input, limits: Limits) -> bytes:
        read.append(one.name)
        return models.colored("red")

    monkeypatch.setattr(prediction, "read", counted)
    inputs = [Input(str(number), str(number)) for number in range(1000)]
    outcomes = prediction.predict(classifier, inputs, Limits())
    for _ in range(10):
        next(outcomes)
    assert len(read) <= 10 + 4 * max(cores(), classifier.calls)
    del outcomes

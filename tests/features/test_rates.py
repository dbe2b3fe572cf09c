from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.features import rates
from headstart.features.store import FeatureStore, recorded_stores, store_folder
from tests.backbones.test_downloads import params


def record(**changes: Any) -> dict[str, Any]:
    return {"backbone": "mobilenet_v2", "alpha": 0.35, "image_size": 112, **changes}


def fill(given: dict[str, Any], passes: int, seconds: float) -> None:
    with FeatureStore(given, (4,)) as store:
        ids = [f"{number:064x}" for number in range(passes)]
        store.put_many([(image_id, np.zeros(4, np.float32)) for image_id in ids], seconds=seconds)


def test_a_rate_is_typical_then_scaled_then_measured() -> None:
    typical = rates.expected_rate(params())
    assert typical is not None
    assert typical.source == rates.TYPICAL
    fill(record(backbone="vgg16", alpha=1.0, image_size=224), 200, 200 * 10.0)
    scaled = rates.expected_rate(params())
    assert scaled is not None
    assert "vgg16 at 224" in scaled.source
    assert scaled.seconds > 10 * typical.seconds
    fill(record(), 200, 200 * 0.5)
    measured = rates.expected_rate(params())
    assert measured == rates.Rate(0.5, measured.factor if measured else 0, rates.MEASURED)
    assert measured.factor < scaled.factor < typical.factor


def test_few_passes_and_foreign_stores_give_no_rate() -> None:
    fill(record(), 5, 100.0)
    fill({"nothing": "known"}, 200, 1.0)
    (store_folder() / "damaged.sqlite").write_bytes(b"no database")
    assert [store.passes for store in recorded_stores()].count(5) == 1
    found = rates.expected_rate(params())
    assert found is not None
    assert found.source == rates.TYPICAL


def test_the_rate_of_an_unknown_network_is_unknown() -> None:
    handle = "https://tfhub.dev/google/some/feature_vector/5"
    assert rates.expected_rate(params(name="hub", hub=handle, alpha=1.0, weights="hub")) is None


@pytest.mark.parametrize(("alpha", "size", "times"), [(0.7, 224, 1.9), (1.4, 112, 1.9)])
def test_arithmetic_grows_with_the_squares(alpha: float, size: int, times: float) -> None:
    one = rates.typical_seconds("mobilenet_v2", alpha, size)
    two = rates.typical_seconds("mobilenet_v2", alpha, 2 * size)
    assert one is not None
    assert two is not None
    assert one < two < 4 * one
    assert two / one < times * 2

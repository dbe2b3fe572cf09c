from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import mannwhitneyu, norm

from headstart.incoming.statistics import (
    DRAWS,
    class_columns,
    compare_statistics,
    pixel_statistics,
)
from tests.stages import small_run


def test_the_largest_difference_comes_first_with_its_direction() -> None:
    random = np.random.default_rng(0)
    known = {"brightness": random.normal(size=80), "contrast": random.normal(size=80)}
    new = {"brightness": random.normal(size=60), "contrast": random.normal(size=60) - 2}
    first, second = compare_statistics(known, new, 42)
    assert (first.name, second.name) == ("contrast", "brightness")
    assert first.p == 1 / (1 + DRAWS)
    assert second.p > 0.05
    assert first.sentence().startswith("flatter (contrast -")
    assert compare_statistics(known, new, 42) == [first, second]


def test_the_difference_is_that_of_mann_and_whitney() -> None:
    random = np.random.default_rng(1)
    known, new = (random.integers(0, 6, size).astype(np.float64) for size in (200, 90))
    new = new + random.integers(0, 2, 90)
    (found,) = compare_statistics({"contrast": known}, {"contrast": new}, 42)
    wanted = mannwhitneyu(new, known, use_continuity=False, method="asymptotic").pvalue
    assert abs(found.z) == pytest.approx(norm.isf(wanted / 2), rel=1e-4)
    assert found.p == pytest.approx(wanted, abs=0.03)


def test_a_statistic_that_never_changes_differs_nowhere() -> None:
    (found,) = compare_statistics({"aspect": np.ones(30)}, {"aspect": np.ones(40)}, 42)
    assert (found.z, found.p) == (0.0, 1.0)


def test_false_alarms_keep_to_the_level_whatever_the_number_of_statistics() -> None:
    alarms = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        names = ["distance", "confidence", "brightness", "contrast", "saturation"]
        known, new = ({name: random.normal(size=n) for name in names} for n in (40, 30))
        alarms += compare_statistics(known, new, seed)[0].p <= 0.05
    assert alarms <= 20  # 10 expected; more than 20 in 1 of 1000 tries


def test_shares_of_classes_are_compared() -> None:
    known, new = np.repeat([0, 1], 50), np.repeat([0, 1], [90, 10])
    columns = class_columns(known, new, ["cat", "dog"])
    first, _ = compare_statistics(*columns, 42)
    assert first.p <= 0.01
    assert first.sentence() in {
        "cat: 90 % of the new images, 50 % of the run's",
        "dog: 10 % of the new images, 50 % of the run's",
    }


def test_pixels_tell_brightness_blur_and_color() -> None:
    image = small_run.image(0, 1)

    def of(changed: Image.Image) -> dict[str, float]:
        return pixel_statistics(np.asarray(changed.convert("RGB")))

    plain = of(image)
    assert of(ImageEnhance.Brightness(image).enhance(0.6))["brightness"] < plain["brightness"]
    assert of(image.filter(ImageFilter.GaussianBlur(2)))["sharpness"] < plain["sharpness"]
    assert of(ImageEnhance.Contrast(image).enhance(0.5))["contrast"] < plain["contrast"]
    assert of(image.convert("L"))["saturation"] == 0

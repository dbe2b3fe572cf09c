from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.errors import HeadstartError
from headstart.export.parameters import ExportParams
from headstart.export.parity import (
    UNSUPPORTED,
    Reading,
    accept,
    at_most,
    calibrating,
    choose,
    compare,
    compared,
    locate,
    require_some,
    spared,
)


def params(**changes: Any) -> ExportParams:
    return ExportParams(
        **{
            "formats": ["keras"],
            "parity_images": 200,
            "max_probability_difference": 1e-4,
            "min_agreement_encoded": 0.99,
            "min_agreement_float16": 0.99,
            "min_agreement_int8": 0.97,
            "calibration_images": 200,
            **changes,
        }
    )


def sure(count: int = 200) -> np.ndarray:
    """Probabilities of two classes in turn, all of them sure."""
    found = np.full((count, 2), 0.1, np.float32)
    found[np.arange(count), np.arange(count) % 2] = 0.9
    return found


def wrong(expected: np.ndarray, count: int) -> np.ndarray:
    """The same with the first images said to be of the other class."""
    found = expected.copy()
    found[:count] = found[:count, ::-1]
    return found


def test_the_largest_difference_and_the_first_guesses_are_counted() -> None:
    found = compare(sure(), wrong(sure(), 3))
    assert (found.images, found.same, found.decided) == (200, 197, 3)
    assert found.difference == pytest.approx(0.8)
    assert found.share == 197 / 200
    assert found.summary()["probability_differs_at_most"] == 1.0


def test_a_tie_is_not_another_guess_of_a_float_format() -> None:
    expected = np.array([[0.50002, 0.49998], [0.9, 0.1]], np.float32)
    found = np.array([[0.49998, 0.50002], [0.9, 0.1]], np.float32)
    tied = compare(expected, found, tie=2e-4)
    assert (tied.same, tied.decided) == (1, 0)
    accept({"keras": {"pixels": tied}}, params())
    clear = compare(expected, found, tie=1e-5)
    with pytest.raises(HeadstartError, match="first guess differs on 1 of 2"):
        accept({"keras": {"pixels": clear}}, params())


def test_a_difference_of_a_float_format_is_refused() -> None:
    found = sure() + np.float32(2e-4)
    with pytest.raises(HeadstartError, match=r"onnx: .*max_probability_difference is 0.0001"):
        accept({"onnx": {"pixels": compare(sure(), found)}}, params())
    accept({"onnx": {"pixels": compare(sure(), found)}}, params(max_probability_difference=1e-3))
    accept({"tflite_float16": {"pixels": compare(sure(), found)}}, params())


def test_nan_is_refused() -> None:
    found = np.full((200, 2), np.nan, np.float32)
    for name in ("keras", "tflite_int8"):
        with pytest.raises(HeadstartError, match=name):
            accept({name: {"pixels": compare(sure(), found)}}, params())


@pytest.mark.parametrize(
    ("name", "way", "most"),
    [("tflite_float16", "pixels", 2), ("tflite_int8", "pixels", 6), ("saved_model", "encoded", 2)],
)
def test_a_share_must_agree(name: Any, way: str, most: int) -> None:
    same = compare(sure(), sure())
    for count, fits in ((most, True), (most + 1, False)):
        ways = {"pixels": same, way: compare(sure(), wrong(sure(), count))}
        if fits:
            accept({name: ways}, params())
        else:
            with pytest.raises(HeadstartError, match=f"{200 - count} of 200 images; export.min_"):
                accept({name: ways}, params())


def test_all_faults_stand_in_one_message() -> None:
    bad = {"pixels": compare(sure(), wrong(sure(), 200))}
    with pytest.raises(HeadstartError) as caught:
        accept({"keras": bad, "tflite_int8": bad}, params())
    lines = str(caught.value).splitlines()
    assert sum(line.startswith("  - keras: ") for line in lines) == 2
    assert sum(line.startswith("  - tflite_int8: ") for line in lines) == 1


@pytest.mark.parametrize(
    ("share", "images", "expected"),
    [(0.99, 200, 2), (0.99, 250, 2), (0.97, 200, 6), (0.99, 12, 1), (1.0, 200, 0), (0.0, 5, 5)],
)
def test_of_few_images_one_may_differ(share: float, images: int, expected: int) -> None:
    assert spared(share, images) == expected


def test_encoded_images_that_were_refused_are_not_compared() -> None:
    expected = sure(3)
    from_files = expected.copy()
    from_files[1] = np.nan
    said = Reading({"pixels": expected, "encoded": from_files}, {1: "a TIFF file"})
    found = compared(expected, {"saved_model": said}, params())["saved_model"]
    assert (found["pixels"].images, found["encoded"].images) == (3, 2)
    assert found["encoded"].difference == 0.0


def test_no_image_left_to_compare_is_an_error() -> None:
    assert require_some({0: "why"}, 3) == [1, 2]
    with pytest.raises(HeadstartError, match=r"refuses all 2 .* TIFF"):
        require_some({0: "TIFF", 1: "TIFF"}, 2)


def test_files_that_no_saved_model_reads_leave_the_comparison_of_pixels() -> None:
    rows = np.eye(3, dtype=np.float32)
    refused = dict.fromkeys(range(3), f"{UNSUPPORTED} (JPEG, PNG, GIF and BMP).")
    readings = {"saved_model": Reading({"pixels": rows, "encoded": rows * np.nan}, refused)}
    found = compared(rows, readings, params())
    assert list(found["saved_model"]) == ["pixels"]
    assert found["saved_model"]["pixels"].same == 3


@pytest.mark.parametrize(
    ("difference", "bound"),
    [(0.0, 1e-5), (6e-6, 1e-5), (3e-5, 1e-4), (1.1e-3, 2e-3), (0.06, 0.1), (0.6, 1.0)],
)
def test_differences_are_reported_as_bounds(difference: float, bound: float) -> None:
    assert at_most(difference) == bound


@pytest.mark.parametrize(("count", "wanted"), [(12, 200), (1000, 200), (7, 1), (1, 5)])
def test_the_choice_of_images_is_fixed_and_spread(count: int, wanted: int) -> None:
    chosen = choose(count, wanted)
    assert chosen == choose(count, wanted)
    assert len(chosen) == min(count, wanted)
    assert len(set(chosen)) == len(chosen)
    assert chosen[0] == 0
    assert chosen[-1] == (count - 1 if wanted > 1 else 0)


def table(count: int = 100) -> pd.DataFrame:
    splits = ["train", "train", "validation", "test"]
    return pd.DataFrame(
        {
            "path": [f"{n:03}.png" for n in range(count)],
            "split": [splits[n % 4] for n in range(count)],
        }
    )


def test_calibration_draws_training_images_by_the_seed() -> None:
    drawn = calibrating(table(), 20, seed=7)
    assert len(drawn) == 20
    assert set(drawn["split"]) == {"train"}
    assert drawn["path"].is_monotonic_increasing
    assert drawn.equals(calibrating(table(), 20, seed=7))
    assert not drawn.equals(calibrating(table(), 20, seed=8))
    assert len(calibrating(table(), 1000, seed=7)) == 50


def test_images_of_another_run_are_refused() -> None:
    found = locate(pd.DataFrame({"path": ["007.png", "003.png"]}), table())
    assert found["path"].tolist() == ["007.png", "003.png"]
    with pytest.raises(HeadstartError, match=r"'other.png', which the manifest does not list"):
        locate(pd.DataFrame({"path": ["other.png"]}), table())

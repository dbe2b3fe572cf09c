"""Each format: the same, nearly the same, another number, another shape or text, and damage."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.runs.numerical_comparison import (
    ABSOLUTE,
    RELATIVE,
    NumericalComparison,
    compare_files,
)

Writer = Callable[[Path, Any], None]
Compare = Callable[[Any], NumericalComparison]
VALUES = np.array([[0.25, -3.0], [1e-3, 100.0]], np.float32)


def _npy(path: Path, values: Any) -> None:
    np.save(path, values)


def _npz(path: Path, values: Any) -> None:
    np.savez(path, kernel=values, bias=np.zeros(2))


def _h5(path: Path, values: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/kernel", data=values)
        file.create_dataset("layer/bias", data=np.zeros(2))


def _keras(path: Path, values: Any) -> None:
    inner = path.with_suffix(".inner.h5")
    _h5(inner, values)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"name": "model"}))
        archive.write(inner, "model.weights.h5")


def _json(path: Path, values: Any) -> None:
    record = {"shape": list(values.shape), "values": values.tolist(), "sha256": "a" * 64}
    path.write_text(json.dumps(record))


def _csv(path: Path, values: Any) -> None:
    rows = [f"{'ab'[i]},{row[0]!r},{row[1]!r}" for i, row in enumerate(values.tolist())]
    path.write_text("\n".join(["name,x,y", *rows]) + "\n")


WRITERS = {
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _h5,
    ".keras": _keras,
    ".json": _json,
    ".csv": _csv,
}


@pytest.fixture(params=WRITERS)
def compare(request: pytest.FixtureRequest, tmp_path: Path) -> Compare:
    """Compare VALUES as a file of each format with other values."""
    suffix: str = request.param

    def made(values: Any) -> NumericalComparison:
        first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
        WRITERS[suffix](first, VALUES)
        WRITERS[suffix](second, values)
        return compare_files(first, second)

    return made


def test_the_same_numbers_are_equal(compare: Compare) -> None:
    found = compare(VALUES.copy())
    assert found.equal
    assert found.largest in {None, 0.0}  # None: no member had other bytes


def test_numbers_within_the_tolerance_are_equal_and_the_largest_difference_is_reported(
    compare: Compare,
) -> None:
    near = VALUES.copy()
    near[1, 1] += 0.004
    found = compare(near)
    assert found.equal
    assert found.largest == pytest.approx(0.004, rel=1e-2)


def test_another_number_is_named_with_its_place(
    compare: Compare,
) -> None:
    far = VALUES.copy()
    far[0, 1] = -3.5
    found = compare(far)
    assert not found.equal
    assert found.largest == 0.5
    assert "0.5" in found.why


def test_not_a_number_is_like_itself_alone(compare: Compare) -> None:
    strange = VALUES.copy()
    strange[0, 0] = np.nan
    found = compare(strange)
    assert not found.equal


def test_another_shape_is_different(compare: Compare) -> None:
    found = compare(VALUES[:1])
    assert not found.equal
    assert found.why


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_damaged_file_is_an_answer_and_no_crash(suffix: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    WRITERS[suffix](first, VALUES)
    second.write_bytes(first.read_bytes()[:-7] + b"\xff\xfe")
    found = compare_files(first, second)
    assert not found.equal
    assert found.why


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    for path in (first, second):
        np.save(path, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    assert "cannot be read" in compare_files(first, second).why


def test_another_format_is_compared_by_its_bytes_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pb", tmp_path / "b.pb"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    assert not compare_files(first, second).equal


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ({"right": 172}, {"right": 173}, False),
        ({"right": 2**60}, {"right": 2**60 + 1}, False),
        ({"right": 2**70}, {"right": 2**70 + 1}, False),
        ({"loss": 0.5}, {"loss": 0.5 + 1e-7}, True),
        ({"kept": True}, {"kept": 1}, False),
        ({"kept": None}, {"kept": 0}, False),
        ({"kind": "head"}, {"kind": "tuned"}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"weights_sha256": "a" * 64}, {"weights_sha256": "b" * 64}, True),
        ({"image_id": "a" * 64}, {"image_id": "b" * 64}, False),
        ({"sha256": "a" * 64}, {"sha256": "none"}, False),
    ],
)
def test_json_counts_are_exact_and_hashes_of_files_follow_the_files(
    first: Any, second: Any, equal: bool, tmp_path: Path
) -> None:
    for name, value in (("first", first), ("second", second)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    found = compare_files(tmp_path / "first.json", tmp_path / "second.json")
    assert found.equal == equal
    assert equal or found.why


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [("7", "8", False), ("0.5", "0.500001", True), ("cat", "dog", False), ("1e3" * 12, "2", False)],
)
def test_cells(first: str, second: str, equal: bool, tmp_path: Path) -> None:
    for name, cell in (("first", first), ("second", second)):
        (tmp_path / f"{name}.csv").write_text(f"x\n{cell}\n")
    assert compare_files(tmp_path / "first.csv", tmp_path / "second.csv").equal == equal


@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
def test_the_tolerance_is_the_documented_one(first: float, second: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("a.npy", "b.npy")]
        for path, value in zip(paths, (first, second), strict=True):
            np.save(path, np.array([value]))
        found = compare_files(*paths)
    assert found.largest == abs(first - second)
    assert found.equal == (abs(first - second) <= ABSOLUTE + RELATIVE * abs(first))


def test_an_infinite_difference_and_a_missing_file_are_answers(tmp_path: Path) -> None:
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    np.save(paths[0], VALUES)
    np.save(paths[1], np.full_like(VALUES, np.inf))
    assert compare_files(paths[0], paths[0]) == NumericalComparison(equal=True, largest=0.0)
    found = compare_files(*paths)
    assert not found.equal
    assert found.largest is None  # JSON has no word for it
    assert "cannot be read" in compare_files(tmp_path / "none.npy", paths[1]).why

"""Metrics and tables that later stages read are checked by themselves and by each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import CorruptFileError
from headstart.datasets.manifests import read_split
from headstart.evaluation.recorded import read_evaluated, read_evaluation
from headstart.export.card import read_counts
from headstart.report.run import Files, Run
from tests.report import made


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return made.make(tmp_path)


def read(files: Files) -> None:
    read_evaluated(files.predictions, files.metrics, read_split(files.manifest))


def lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def test_files_of_one_run_are_read(files: Files) -> None:
    read(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "expected 18 rows, got 17"),
        (lambda rows: [*rows, rows[-1]], "expected 18 rows, got 19"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "in row 1, expected"),
        (lambda rows: [*rows[:-1], rows[-1].replace(",cat,", ",ant,", 1)], "in row 18, expected"),
        (lambda rows: [rows[0].replace("label", "class"), *rows[1:]], "expected image_id, path"),
        (lambda rows: rows[:1], "expected 18 rows, got 0"),
    ],
)
def test_predictions_that_are_not_of_the_test_split(
    files: Files, change: Callable[[list[str]], list[str]], message: str
) -> None:
    lines(files.predictions, change)
    with pytest.raises(CorruptFileError, match=message) as caught:
        read(files)
    assert str(files.predictions) in str(caught.value)
    assert "`dvc repro --force --single-item evaluate`" in str(caught.value)


def test_a_predicted_class_that_is_not_the_most_probable_one(files: Files) -> None:
    def swap(rows: list[str]) -> list[str]:
        cells = rows[1].split(",")
        cells[3] = next(name for name in ("ant", "bee", "cat") if name != cells[3])
        return [rows[0], ",".join(cells), *rows[2:]]

    lines(files.predictions, swap)
    with pytest.raises(CorruptFileError, match="row 1 names the class"):
        read(files)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", None, "classes: Field required"),
        ("test_images", "18", "test_images: Input should be a valid integer"),
        ("test_images", 17, "`test_images` is 17, and the predictions give 18"),
        ("model.correct", 0, "`model.correct` is 0, and the predictions give"),
        ("model.accuracy", 2.0, "model.accuracy: Input should be less than or equal to 1"),
        ("head", {}, "head.accuracy: Field required"),
    ],
)
def test_metrics_that_lack_or_contradict_something(
    files: Files, key: str, value: Any, message: str
) -> None:
    metrics = json.loads(files.metrics.read_text())
    *above, last = key.split(".")
    place = metrics[above[0]] if above else metrics
    place[last] = value
    if value is None:
        del place[last]
    files.metrics.write_text(json.dumps(metrics))
    with pytest.raises(CorruptFileError, match=message) as caught:
        read(files)
    assert str(files.metrics) in str(caught.value)
    assert "`dvc repro --force --single-item evaluate`" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"head": {', "\0\0\0"])
def test_metrics_that_are_none(files: Files, content: str) -> None:
    files.metrics.write_text(content)
    with pytest.raises(CorruptFileError, match="is not a valid record"):
        read_evaluation(files.metrics)
    files.export_metrics.write_text(content)


@pytest.mark.parametrize("content", ["", "{}", '{"formats": {}, "images": 1, "refused": 0}'])
def test_the_report_refuses_metrics_of_no_export(files: Files, content: str) -> None:
    files.export_metrics.write_text(content)
    with pytest.raises(CorruptFileError, match="`dvc repro --force --single-item export`"):
        Run(files)


def test_the_report_refuses_a_calibration_of_other_images(files: Files) -> None:
    lines(files.calibration, lambda rows: rows[:-1])
    with pytest.raises(CorruptFileError, match="does not count the 18 images"):
        Run(files)


@pytest.mark.parametrize(
    ("kept", "by_reason", "message"),
    [(48, {"empty": 2}, ""), (47, {"empty": 2}, "add up"), (48, {}, "add up"), ("48", {}, "kept")],
)
def test_counts_of_a_download_add_up(
    tmp_path: Path, kept: Any, by_reason: dict[str, int], message: str
) -> None:
    counts = {"files": 50, "kept": kept, "duplicates": 0, "label_conflicts": 0, "rejected": 2}
    file = tmp_path / "download.json"
    file.write_text(json.dumps({**counts, "rejected_by_reason": by_reason, "bytes": 7}))
    if not message:
        assert "bytes" not in read_counts(file)
        return
    with pytest.raises(CorruptFileError, match=message):
        read_counts(file)

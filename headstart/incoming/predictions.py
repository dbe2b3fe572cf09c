"""Recorded predictions, as `headstart predict` writes them, beside those of the test images."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.csv_text import original
from headstart._utils.errors import HeadstartError
from headstart.audit.vectors import Float64
from headstart.datasets.groups import group_names
from headstart.evaluation.predictions import Predictions
from headstart.incoming.alike import Verdict, require_enough
from headstart.incoming.statistics import class_columns, compare_statistics

#: Endings of files of predictions.
ENDINGS = (".jsonl", ".csv")
_LONGEST = 1 << 20  # letters of a line
_MOST = 1_000_000  # lines


@dataclass(frozen=True)
class Recorded:
    """Predictions of some images.

    Attributes
    ----------
    files : list of str
    labels : ndarray of shape (n,), int64
        Class indices of the most likely classes.
    confidence : ndarray of shape (n,), float64
        Their probabilities.
    """

    files: list[str]
    labels: npt.NDArray[np.int64]
    confidence: Float64


def read_recorded(path: Path, classes: Sequence[str]) -> Recorded:
    """Read a file that `headstart predict --format jsonl` or `csv` wrote.

    Raises
    ------
    HeadstartError
        Naming the first line that is not a prediction of one of the classes.
    """
    places = {name: place for place, name in enumerate(classes)}
    read = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
    files, labels, confidence = [], [], []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in read(_bounded(file, path)):
                fault = _fault(row, places)
                if fault:
                    raise _unfit(path, number, fault, classes)
                files.append(str(row[0]))
                labels.append(places[row[1]])
                confidence.append(float(row[2]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HeadstartError(f"{path} cannot be read as predictions: {error}.") from error
    return Recorded(files, np.array(labels, np.int64), np.array(confidence, np.float64))


def _bounded(file: Any, path: Path) -> Iterator[str]:
    for number in range(1, _MOST + 2):
        line = file.readline(_LONGEST + 1)
        if not line:
            return
        if len(line) > _LONGEST or number > _MOST:
            raise HeadstartError(
                f"{path}, line {number:,}: expected at most {_MOST:,} lines of {_LONGEST:,} "
                "letters. Nothing was judged. Give it a part of the file."
            )
        yield line


def _json_rows(lines: Iterator[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            first = row["top"][0] if row["label"] is None else row  # below the threshold
            yield number, (row["file"], first["label"], first["probability"])
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            yield number, (None, None, math.nan)


def _csv_rows(lines: Iterator[str]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for number, row in enumerate(csv.DictReader(lines), 2):
        cells = [row.get(name) or "" for name in ("file", "label", "probability")]
        yield number, (original(cells[0]), original(cells[1]), cells[2])


def _fault(row: tuple[Any, ...], places: Mapping[str, int]) -> str:
    """Return what is wrong with a row of file, class and probability; "" if nothing is."""
    _, label, probability = row
    if not isinstance(label, str) or label not in places:
        return f"the class {str(label)[:100]!r}"
    try:
        fits = 0 <= float(probability) <= 1
    except (TypeError, ValueError):
        fits = False
    return "" if fits else f"the probability {str(probability)[:100]!r}"


def _unfit(path: Path, number: int, got: str, classes: Sequence[str]) -> HeadstartError:
    shown = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
    return HeadstartError(
        f"{path}, line {number:,}: expected a row of `headstart predict` with a class of this "
        f"model ({shown}) and its probability; got {got}. Nothing was judged. Write the file with "
        "`headstart predict --format jsonl`, by the model of this run, without --capitals and, as "
        "CSV, without --threshold."
    )


def judge_recorded(
    predictions: Predictions,
    manifest: pd.DataFrame,
    duplicates: Mapping[str, str],
    new: Recorded,
    classes: Sequence[str],
    seed: int,
) -> Verdict:
    """Compare predictions with those of the test images, one of each split group.

    Parameters
    ----------
    predictions : Predictions
        Of the run, by the final model.
    manifest : DataFrame
        The sample manifest.
    duplicates : mapping of str to str
        Group of near duplicates by image id.
    new : Recorded
    classes : sequence of str
    seed : int
    """
    test = manifest[manifest["split"] == "test"].reset_index(drop=True)
    if not test["image_id"].equals(predictions.rows["image_id"]):
        raise HeadstartError(
            "The manifest and the recorded predictions hold different test images: they come from "
            "different runs. `dvc repro` makes them match."
        )
    own = predictions.model[(~group_names(test, duplicates).duplicated()).to_numpy()]
    require_enough(len(new.files), len(own))
    known, theirs = class_columns(own.argmax(axis=1), new.labels, classes)
    differences = compare_statistics(
        {"confidence": own.max(axis=1), **known}, {"confidence": new.confidence, **theirs}, seed
    )
    return Verdict(min(each.p for each in differences), differences, len(new.files), len(own))

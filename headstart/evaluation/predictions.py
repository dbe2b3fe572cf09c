"""``predictions.csv``: the probabilities that both models give each test image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.csv_text import csv_text, restored
from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_text

KEYS = ("image_id", "path", "label", "predicted")
#: Decimals of a recorded probability. CPUs compute it differently from the 15th decimal on, so that
#: two CPUs write another digit about once in a hundred million probabilities.
DECIMALS = 7
#: The cure for a damaged file of the stage ``evaluate``.
AGAIN = "`dvc repro --force --single-item evaluate` writes it again."
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Rows and probabilities, in the order of the test split.

    Attributes
    ----------
    rows : DataFrame
        ``image_id``, ``path``, ``label``, and ``predicted``: the final model's class.
    head, model : ndarray of shape (n_images, n_classes), float64
        Probabilities of the head-only and of the final model, as they are recorded.
    """

    rows: pd.DataFrame
    head: Probabilities
    model: Probabilities

    @classmethod
    def record(
        cls,
        images: pd.DataFrame,
        classes: Sequence[str],
        head: npt.NDArray[np.floating[Any]],
        model: npt.NDArray[np.floating[Any]],
    ) -> Predictions:
        """Round what two models computed to what is recorded; the file gives the same back.

        Parameters
        ----------
        images : DataFrame
            ``image_id``, ``path`` and ``label``, a row per image.
        classes : sequence of str
            In the order of the outputs.
        head, model : ndarray of shape (n_images, n_classes)
        """
        final = _rounded(model)
        predicted = [classes[i] for i in final.argmax(axis=1)]
        rows = images[["image_id", "path", "label"]].reset_index(drop=True)
        rows = rows.assign(predicted=predicted).astype(dict.fromkeys(KEYS, "str"))
        return cls(rows, _rounded(head), final)


def predictions_size(manifest: pd.DataFrame, classes: int) -> int:
    """Return the estimated bytes of ``predictions.csv``: a row per test image."""
    row = 200 + 2 * classes * (DECIMALS + 4)
    return row * int((manifest["split"] == "test").sum())


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the keys, then ``head_probability_<i>`` and ``model_probability_<i>`` for class i."""
    head, model = _names(predictions.model.shape[1])
    table = pd.concat(
        [
            predictions.rows[list(KEYS)].reset_index(drop=True),
            pd.DataFrame(predictions.head, columns=head),
            pd.DataFrame(predictions.model, columns=model),
        ],
        axis=1,
    )
    write_text(path, csv_text(table))


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """Read the table and check it against the classes of the model.

    Raises
    ------
    CorruptFileError
        If columns differ, a label is not a class, or a number is not a probability.
    """
    head, model = _names(len(classes))
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(KEYS, "str"),
            keep_default_na=False,
            na_filter=False,
            encoding="utf-8",
            lineterminator="\n",
            float_precision="round_trip",
        )
        table = restored(table)
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path} cannot be read as predictions: {error}. {AGAIN}") from error
    if list(table.columns) != [*KEYS, *head, *model]:
        raise CorruptFileError(
            f"{path}: expected {', '.join(KEYS)} and two columns for each of {len(classes)} "
            f"classes; got {len(table.columns)} columns: {', '.join(table.columns[:6])} …. "
            f"{AGAIN}"
        )
    unknown = sorted((set(table["label"]) | set(table["predicted"])) - set(classes))
    if unknown:
        raise CorruptFileError(f"{path}: {unknown[0]!r} is not a class of the model. {AGAIN}")
    return Predictions(
        table[list(KEYS)], _probabilities(table[head], path), _probabilities(table[model], path)
    )


def indices(labels: pd.Series[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the class index of each label."""
    place = {name: i for i, name in enumerate(classes)}
    return np.array([place[label] for label in labels], np.int64)


def _rounded(probabilities: npt.NDArray[np.floating[Any]]) -> Probabilities:
    # k / 10**7 is the float64 nearest to that decimal number, which is what reading it gives.
    return np.asarray(np.round(probabilities.astype(np.float64), DECIMALS), np.float64)


def _names(count: int) -> tuple[list[str], list[str]]:
    head, model = (
        [f"{which}_probability_{i}" for i in range(count)] for which in ("head", "model")
    )
    return head, model


def _probabilities(table: pd.DataFrame, path: Path) -> Probabilities:
    try:
        values = table.to_numpy(np.float64)
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}. {AGAIN}") from error
    if not ((values >= 0) & (values <= 1)).all():
        raise CorruptFileError(f"{path} holds numbers that are not probabilities. {AGAIN}")
    return values

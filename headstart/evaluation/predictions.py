"""``predictions.csv``: what both models say of every test image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_file

KEYS = ("image_id", "path", "label", "predicted")
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predictions:
    """Rows and probabilities, in the order of the test split.

    Attributes
    ----------
    rows : DataFrame
        ``image_id``, ``path``, ``label``, and ``predicted``: the final model's class.
    head, model : ndarray of shape (n_images, n_classes), float32
        Probabilities of the head-only and of the final model.
    """

    rows: pd.DataFrame
    head: Probabilities
    model: Probabilities


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the table: keys, then ``head_<i>`` and ``model_<i>`` for class index i.

    Every number is the shortest text that reads back as the same float32.
    """
    head, model = _names(predictions.model.shape[1])
    table = pd.concat(
        [
            predictions.rows[list(KEYS)].reset_index(drop=True),
            pd.DataFrame(predictions.head.astype(np.float32, copy=False), columns=head),
            pd.DataFrame(predictions.model.astype(np.float32, copy=False), columns=model),
        ],
        axis=1,
    )
    with atomic_file(path) as file:
        table.to_csv(file, index=False, lineterminator="\n", encoding="utf-8")


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """Read the table and check it against the classes of the model.

    Raises
    ------
    CorruptFileError
        If columns differ, a label is no class, or a number is no probability.
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
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path} cannot be read as predictions: {error}.") from error
    if list(table.columns) != [*KEYS, *head, *model]:
        raise CorruptFileError(
            f"{path}: expected {', '.join(KEYS)} and two columns for each of {len(classes)} "
            f"classes; got {len(table.columns)} columns: {', '.join(table.columns[:6])} …"
        )
    unknown = sorted((set(table["label"]) | set(table["predicted"])) - set(classes))
    if unknown:
        raise CorruptFileError(f"{path}: {unknown[0]!r} is no class of the model.")
    return Predictions(
        table[list(KEYS)], _probabilities(table[head], path), _probabilities(table[model], path)
    )


def _names(count: int) -> tuple[list[str], list[str]]:
    return [f"head_{i}" for i in range(count)], [f"model_{i}" for i in range(count)]


def _probabilities(table: pd.DataFrame, path: Path) -> Probabilities:
    try:
        values = table.to_numpy(np.float64).astype(np.float32)
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}.") from error
    if not ((values >= 0) & (values <= 1)).all():
        raise CorruptFileError(f"{path} holds numbers that are no probabilities.")
    return values

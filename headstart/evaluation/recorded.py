"""``evaluate.json`` and ``predictions.csv``, read again: each is checked, and that they agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from headstart._utils.errors import CorruptFileError
from headstart._utils.records import Facts, read_facts
from headstart._utils.tables import listed
from headstart.evaluation.predictions import (
    AGAIN,
    Predictions,
    Probabilities,
    indices,
    read_predictions,
)

_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]


class _Class(Facts):
    label: str
    precision: _Share
    recall: _Share
    f1: _Share
    support: _Count


class _Confusion(Facts):
    actual: str
    predicted: str
    count: _Count


class _Scores(Facts):
    correct: _Count
    top_k: _Count | None = None
    accuracy: _Share
    accuracy_low: _Share
    accuracy_high: _Share
    top_k_accuracy: _Share | None = None
    macro_f1: _Share
    expected_calibration_error: _Share
    loss: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    per_class: list[_Class]
    most_confused: list[_Confusion]


class _Evaluation(Facts):
    head: _Scores | None = None
    model: _Scores
    kind: str
    chosen_because: str
    test_images: _Count
    train_images: _Count
    validation_images: _Count
    classes: list[str]
    advice: Annotated[list[str], Field(default_factory=list)]
    weights: str
    random_weights: bool


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read ``evaluate.json``.

    Without fine-tuning, ``head`` is the final model: the file lists it once.

    Raises
    ------
    CorruptFileError
        Naming what is absent, unknown or of another type.
    """
    facts = read_facts(path, _Evaluation, AGAIN)
    model = _known(facts["model"])
    return {**facts, "model": model, "head": _known(facts["head"]) if facts["head"] else model}


def _known(scores: dict[str, Any]) -> dict[str, Any]:
    """Return scores without those that are undefined, such as a top-k accuracy of few classes."""
    return {key: value for key, value in scores.items() if value is not None}


def read_evaluated(
    predictions: Path,
    evaluation: Path,
    manifest: pd.DataFrame,
    classes: Sequence[str] | None = None,
) -> tuple[Predictions, dict[str, Any]]:
    """Read the predictions and the metrics of the images in use.

    Parameters
    ----------
    predictions, evaluation : Path
        ``predictions.csv`` and ``evaluate.json``.
    manifest : DataFrame
        All images in use, with their split.
    classes : sequence of str, optional
        Of the model. Default: those of the metrics.

    Raises
    ------
    CorruptFileError
        If one is damaged, or they do not belong together.
    """
    metrics = read_evaluation(evaluation)
    if classes is not None and list(classes) != metrics["classes"]:
        raise CorruptFileError(
            f"{evaluation} has other classes than the model: expected {listed(classes)}; got "
            f"{listed(metrics['classes'])}. {AGAIN}"
        )
    found = read_predictions(predictions, metrics["classes"])
    check_rows(predictions, found, manifest)
    best = [metrics["classes"][i] for i in found.model.argmax(axis=1)]
    wrong = [row for row, name in enumerate(found.rows["predicted"]) if name != best[row]]
    if wrong:
        raise CorruptFileError(
            f"{predictions}: row {wrong[0] + 1} names the class "
            f"{found.rows['predicted'][wrong[0]]!r}, and its highest probability is that of "
            f"{best[wrong[0]]!r}. {AGAIN}"
        )
    labels = indices(found.rows["label"], metrics["classes"])

    def correct(probabilities: Probabilities) -> int:
        return int((probabilities.argmax(axis=1) == labels).sum())

    counts = {
        "test_images": (metrics["test_images"], len(found.rows)),
        "model.correct": (metrics["model"]["correct"], correct(found.model)),
        "head.correct": (metrics["head"]["correct"], correct(found.head)),
    }
    for name, (recorded, got) in counts.items():
        if recorded != got:
            raise CorruptFileError(
                f"{evaluation} and {predictions} do not belong together: `{name}` is {recorded}, "
                f"and the predictions give {got}. {AGAIN}"
            )
    return found, metrics


def check_rows(path: Path, predictions: Predictions, manifest: pd.DataFrame) -> None:
    """Compare the rows of the predictions with the test split.

    Raises
    ------
    CorruptFileError
        Naming the first row that differs.
    """
    keys = ["image_id", "path", "label"]
    wanted = manifest.loc[manifest["split"] == "test", keys].to_numpy().tolist()
    got = predictions.rows[keys].to_numpy().tolist()
    if wanted == got:
        return
    place = next(
        (i for i, pair in enumerate(zip(wanted, got, strict=False)) if pair[0] != pair[1]),
        min(len(wanted), len(got)),
    )
    expected = wanted[place][1] if place < len(wanted) else "no further row"
    found = got[place][1] if place < len(got) else "no further row"
    raise CorruptFileError(
        f"{path} does not hold the test split: expected {len(wanted):,} rows, got {len(got):,}; in "
        f"row {place + 1}, expected {expected!r}, got {found!r}. {AGAIN}"
    )

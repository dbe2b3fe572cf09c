"""What a page says of the two models: scores side by side, classes, confusions. Plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.datasets.manifests import SPLITS
from headstart.evaluation.metrics import confusion_matrix
from headstart.evaluation.predictions import Predictions

MATRIX_CLASSES = 20  # up to here the confusion matrix is a table with the classes' names
_LEVELS = 10


def scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Both models' scores as rows of a table, and the places of their intervals on a line.

    Parameters
    ----------
    metrics : mapping
        ``data/metrics/evaluate.json``.
    """
    head, model = metrics["head"], metrics["model"]
    rows = [
        _row("Accuracy", "accuracy", head, model),
        _row(f"Right among the first {model['top_k']}", "top_k_accuracy", head, model),
        _row("Mean F1 of the classes", "macro_f1", head, model),
        _row("Loss", "loss", head, model, share=False, better=-1),
        _row(
            "Calibration error", "expected_calibration_error", head, model, share=False, better=-1
        ),
    ]
    if "binary_accuracy" in model:  # A head of single sigmoids.
        rows.append(_row("Right outputs, each by itself", "binary_accuracy", head, model))
    lowest = min(head["accuracy_low"], model["accuracy_low"])
    floor = max(0.0, np.floor(10 * (lowest - 0.02)) / 10)
    return {
        "rows": rows,
        "head": head,
        "model": model,
        "tuned": metrics["kind"] == "fine_tuned",
        "ticks": [floor, round((floor + 1) / 2, 4), 1.0],
        "bars": [
            _interval("head alone", head, floor),
            _interval("fine-tuned" if metrics["kind"] == "fine_tuned" else "final", model, floor),
        ],
    }


def _row(
    title: str,
    name: str,
    head: Mapping[str, Any],
    model: Mapping[str, Any],
    *,
    share: bool = True,
    better: int = 1,
) -> dict[str, Any]:
    change = float(model[name]) - float(head[name])
    return {
        "title": title,
        "head": head[name],
        "model": model[name],
        "change": change,
        "share": share,
        "better": change * better > 0,
    }


def _interval(title: str, found: Mapping[str, Any], floor: float) -> dict[str, Any]:
    def place(value: float) -> float:
        return round(100 * (value - floor) / (1 - floor), 2)

    low, high = place(found["accuracy_low"]), place(found["accuracy_high"])
    return {
        "title": title,
        "low": low,
        "width": round(high - low, 2),
        "at": place(found["accuracy"]),
        "accuracy": found["accuracy"],
        "accuracy_low": found["accuracy_low"],
        "accuracy_high": found["accuracy_high"],
    }


def confusion(predictions: Predictions, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Counts of shape (n_classes, n_classes), row = label, of the final model."""
    place = {name: i for i, name in enumerate(classes)}
    labels, guesses = (
        predictions.rows[column].map(place).to_numpy(np.int64) for column in ("label", "predicted")
    )
    return confusion_matrix(labels, guesses, len(classes))


def matrix(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any] | None:
    """The confusion matrix as rows of cells; None where it is too large for a table."""
    if len(classes) > MATRIX_CLASSES:
        return None
    totals = counts.sum(axis=1)
    rows = [
        {
            "label": name,
            "cells": [
                {
                    "count": int(n),
                    "right": i == j,
                    # The root, so that a single mistake can be seen.
                    "level": int(np.ceil(_LEVELS * (n / totals[i]) ** 0.5)) if n else 0,
                }
                for j, n in enumerate(counts[i])
            ],
        }
        for i, name in enumerate(classes)
    ]
    return {"rows": rows, "classes": list(classes), "short": all(len(c) <= 3 for c in classes)}


def confused(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs that are mixed up most often, with the share of the class that it is."""
    support = {row["label"]: row["support"] for row in metrics["model"]["per_class"]}
    return [
        {**pair, "of": support[pair["actual"]], "share": pair["count"] / support[pair["actual"]]}
        for pair in metrics["model"]["most_confused"]
    ]


def classes(
    metrics: Mapping[str, Any], images: pd.DataFrame, counts: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """A row a class: images of each split, precision, recall, F1, and what it is taken for.

    A class without a test image has no recall, and one that was never guessed no precision: None.
    """
    numbers = images.groupby(["label", "split"]).size()
    head = {row["label"]: row for row in metrics["head"]["per_class"]}
    names = metrics["classes"]
    rows = []
    for i, found in enumerate(metrics["model"]["per_class"]):
        wrong = counts[i].copy()
        wrong[i] = 0
        often = int(wrong.argmax())
        guessed = int(counts[:, i].sum())
        rows.append(
            {
                "number": i + 1,
                "label": found["label"],
                **{split: int(numbers.get((found["label"], split), 0)) for split in SPLITS},
                "precision": found["precision"] if guessed else None,
                "recall": found["recall"] if found["support"] else None,
                "f1": found["f1"] if found["support"] else None,
                "head_f1": head[found["label"]]["f1"] if found["support"] else None,
                "taken_for": names[often] if wrong[often] else "",
                "taken_count": int(wrong[often]),
            }
        )
    return rows

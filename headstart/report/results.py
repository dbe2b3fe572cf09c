"""The sections of the page on scores and classes, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.datasets.manifests import SPLITS
from headstart.evaluation.confusion import confusion_matrix
from headstart.evaluation.metrics import listed
from headstart.evaluation.predictions import Predictions, indices

MATRIX_CLASSES = 20  # up to here the confusion matrix is a table with the classes' names


def scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return both models' metrics as rows of a table, and where the axis of accuracy begins.

    Parameters
    ----------
    metrics : mapping
        ``data/metrics/evaluate.json``.
    """
    head, model = metrics["head"], metrics["model"]
    rows = []
    for metric in listed("report", model):
        change = float(model[metric.key]) - float(head[metric.key])
        rows.append(
            {
                "title": metric.heading(model),
                "head": head[metric.key],
                "model": model[metric.key],
                "change": change,
                "share": metric.style == "percent",
                "better": change > 0 if metric.better == "higher" else change < 0,
            }
        )
    lowest = min(head["accuracy_low"], model["accuracy_low"])
    return {
        "rows": rows,
        "head": head,
        "model": model,
        "tuned": metrics["kind"] == "fine_tuned",
        "floor": max(0.0, np.floor(10 * (lowest - 0.02)) / 10),
    }


def confusion(predictions: Predictions, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the final model's counts of shape (n_classes, n_classes), row = actual class."""
    rows = predictions.rows
    actual, predicted = (indices(rows[name], classes) for name in ("label", "predicted"))
    return confusion_matrix(actual, predicted, len(classes))


def matrix(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any] | None:
    """Return the confusion matrix as rows of counts; None if it is too large for a table."""
    if len(classes) > MATRIX_CLASSES:
        return None
    rows = [
        {"label": name, "counts": row.tolist(), "total": int(row.sum())}
        for name, row in zip(classes, counts, strict=True)
    ]
    return {"rows": rows, "classes": list(classes), "short": all(len(c) <= 3 for c in classes)}


def confused(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the most confused pairs of classes, with their share of the actual class."""
    support = {row["label"]: row["support"] for row in metrics["model"]["per_class"]}
    return [
        {**pair, "of": support[pair["actual"]], "share": pair["count"] / support[pair["actual"]]}
        for pair in metrics["model"]["most_confused"]
    ]


def classes(
    metrics: Mapping[str, Any], images: pd.DataFrame, counts: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return one row per class: images of each split, precision, recall, F1, main confusion.

    A class without a test image has no recall, and one that was never predicted no precision: None.
    """
    numbers = images.groupby(["label", "split"]).size()
    head = {row["label"]: row for row in metrics["head"]["per_class"]}
    names = metrics["classes"]
    rows = []
    for i, found in enumerate(metrics["model"]["per_class"]):
        label, tested = found["label"], found["support"] > 0
        wrong = counts[i].copy()
        wrong[i] = 0
        often = int(wrong.argmax())
        rows.append(
            {
                "number": i + 1,
                "label": label,
                **{split: int(numbers.get((label, split), 0)) for split in SPLITS},
                "precision": found["precision"] if counts[:, i].any() else None,
                "recall": found["recall"] if tested else None,
                "f1": found["f1"] if tested else None,
                "head_f1": head[label]["f1"] if tested else None,
                "confused_with": names[often] if wrong[often] else "",
                "confused_count": int(wrong[often]),
            }
        )
    return rows

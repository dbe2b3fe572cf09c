"""Metrics and passes as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart._utils.tables import columns, plain
from headstart.datasets import advice
from headstart.evaluation import metrics
from headstart.evaluation.metrics import percent
from headstart.evaluation.passes import by_stage

_CLASSES_SHOWN = 12
RANDOM = (
    "*** THE BACKBONE HAS RANDOM WEIGHTS: these scores show that the pipeline works, and nothing "
    "about transfer. ***\nSet `backbone.weights: imagenet` in params.yaml for a real model."
)


def scores_text(recorded: Mapping[str, Any]) -> str:
    """Return ``evaluate.json`` for the terminal: both models, then the final model's classes."""
    listed = metrics.listed("summary", recorded["model"])
    headings = [metric.heading(recorded["model"]) for metric in listed]
    rows = [("", headings[0], "95 % interval", *headings[1:])]
    tuned = recorded["kind"] == "fine_tuned"
    models = {"head only": "head"} | ({"final model (fine-tuned)": "model"} if tuned else {})
    for title, name in models.items():
        found = recorded[name if tuned else "model"]
        first, *others = (metric.text(found[metric.key]) for metric in listed)
        interval = f"{percent(found['accuracy_low'])} to {percent(found['accuracy_high'])}"
        rows.append((title, first, interval, *others))
    counted = f"{recorded['test_images']:,} images, {len(recorded['classes'])} classes"
    lines = [
        f"Test split: {counted}; trained on {recorded['train_images']:,}.",
        columns(rows, "l" + "r" * (len(rows[0]) - 1)),
        f"Chosen because: {plain(recorded['chosen_because'])}.",
        "",
        _classes(recorded["model"]["per_class"]),
    ]
    if recorded.get("advice"):
        lines += ["", *advice.lines(recorded["advice"])]
    if recorded["random_weights"]:
        lines += ["", RANDOM]
    return "\n".join(lines)


def _classes(per_class: list[dict[str, Any]]) -> str:
    """Return one row per class; of many classes, those with the lowest F1."""
    shown, title = per_class, "class"
    if len(per_class) > _CLASSES_SHOWN:
        worst = sorted(per_class, key=lambda row: (row["f1"], row["label"]))
        shown, title = worst[:_CLASSES_SHOWN], f"the {_CLASSES_SHOWN} worst classes"
    rows = [(title, "precision", "recall", "F1", "images")]
    for row in shown:
        values = [percent(row[name]) for name in ("precision", "recall", "f1")]
        rows.append((str(row["label"]), values[0], values[1], values[2], f"{row['support']:,}"))
    return columns(rows, "lrrrr")


def passes_text(table: Mapping[str, Any]) -> str:
    """Return the table for the terminal."""
    rows = [("stage", "", "passes done", "cached", "seconds")]
    for stage, row in by_stage(table).items():
        rows.append((stage, "ran" if row["ran"] else "recorded", *_numbers(row)))
    rows.append(("total", "", *_numbers(table)))
    return columns(rows, "llrrr")


def _numbers(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return f"{row['passes_done']:,}", f"{row['passes_cached']:,}", f"{row['seconds']:.1f}"

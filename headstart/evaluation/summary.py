"""What an evaluation says at the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headstart._utils.tables import columns, plain
from headstart.evaluation.passes import by_stage

_CLASSES_SHOWN = 12
#: The run statistics does not know the graph. A stage that is not here stands at the end.
_ORDER = (
    "download", "split", "sample", "backbone", "extract_features", "train_head", "fine_tune",
    "evaluate", "export", "make_report",
)  # fmt: skip


def scores_text(metrics: Mapping[str, Any]) -> str:
    """Both models' accuracy with its interval, and the final model's classes."""
    top = f"top {metrics['model']['top_k']}"
    rows = [("", "accuracy", "95 % interval", "loss", top, "calibration error")]
    final = "fine-tuned" if metrics["kind"] == "fine_tuned" else "the same"
    for title, name in (("head only", "head"), (f"final model ({final})", "model")):
        found = metrics[name]
        rows.append(
            (
                title,
                _percent(found["accuracy"]),
                f"{_percent(found['accuracy_low'])} to {_percent(found['accuracy_high'])}",
                f"{found['loss']:.4f}",
                _percent(found["top_k_accuracy"]),
                f"{found['expected_calibration_error']:.4f}",
            )
        )
    counted = f"{metrics['test_images']:,} images, {len(metrics['classes'])} classes"
    lines = [
        f"Test split: {counted}; trained on {metrics['train_images']:,}.",
        columns(rows, "lrrrrr"),
        f"Chosen because: {plain(metrics['chosen_because'])}.",
        "",
        _classes(metrics["model"]["per_class"]),
    ]
    if metrics["random_weights"]:
        lines += ["", RANDOM]
    return "\n".join(lines)


RANDOM = (
    "*** THE BASE HAS RANDOM WEIGHTS: these scores show that the pipeline works, and nothing about "
    "transfer. ***\nSet `backbone.weights: imagenet` in params.yaml for a real model."
)


def passes_text(table: Mapping[str, Any]) -> str:
    """The table of passes."""
    rows = [("stage", "", "passes done", "cached", "seconds")]
    found = by_stage(table)
    for stage in in_order(found):
        row = found[stage]
        rows.append(_passes(stage, "ran" if row["ran"] else "recorded", row))
    rows.append(_passes("together", "", table))
    return columns(rows, "llrrr")


def in_order(stages: Iterable[str]) -> list[str]:
    """Names of stages in the order in which they run."""
    names = set(stages)
    known = [stage for stage in _ORDER if stage in names]
    return known + sorted(names - set(known))


def _passes(stage: str, state: str, row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    done, cached = f"{row['passes_done']:,}", f"{row['passes_cached']:,}"
    return stage, state, done, cached, f"{row['seconds']:.1f}"


def _classes(per_class: list[dict[str, Any]]) -> str:
    """A row a class; where there are many, those that are recognized worst."""
    shown, title = per_class, "class"
    if len(per_class) > _CLASSES_SHOWN:
        worst = sorted(per_class, key=lambda row: (row["f1"], row["label"]))
        shown, title = worst[:_CLASSES_SHOWN], f"the {_CLASSES_SHOWN} worst classes"
    rows = [(title, "precision", "recall", "F1", "images")]
    for row in shown:
        values = [_percent(row[name]) for name in ("precision", "recall", "f1")]
        rows.append((str(row["label"]), values[0], values[1], values[2], f"{row['support']:,}"))
    return columns(rows, "lrrrr")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

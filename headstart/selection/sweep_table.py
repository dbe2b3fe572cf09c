"""A sweep for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart._utils.tables import columns, counted, spelled
from headstart.evaluation.comparison import p_text
from headstart.evaluation.metrics import percent, wilson_interval
from headstart.selection.grid import HEAD
from headstart.selection.sweep import Found, Ranked

UNCHANGED = "as in params.yaml"


def changes_text(changes: Mapping[str, Any]) -> str:
    """Return what differs from params.yaml, for a table: ``hidden=[128], dropout=0.3``."""
    parts = [f"{key.removeprefix(HEAD)}={spelled(value)}" for key, value in changes.items()]
    return ", ".join(parts) or UNCHANGED


def values(found: Found) -> dict[str, Any]:
    """Return the sweep for programs; every trained head, the best first."""
    estimate = found.estimate()
    test = found.against_current()
    return {
        "images": found.images,
        "passes": 0,
        "sampler": "grid" if found.guides is None else "tpe",
        "trials": len(found.trials),
        "recorded": found.recorded,
        **{outcome: found.count(outcome) for outcome in ("trained", "stopped", "failed")},
        "estimate": {
            "accuracy": estimate.accuracy,
            "accuracy_low": estimate.low,
            "accuracy_high": estimate.high,
            "apparent": estimate.apparent,
            "images": found.fresh,
        },
        "p_against_current": None if test is None else test.p,
        "heads": [_row(one) for one in found.ranking],
    }


def _row(one: Ranked) -> dict[str, Any]:
    correct, images = int(one.right.sum()), len(one.right)
    low, high = wilson_interval(correct, images)
    result = one.result
    return {
        "changes": dict(one.trial.changes),
        "correct": correct,
        "accuracy": correct / images,
        "accuracy_low": low,
        "accuracy_high": high,
        "loss": result.loss,
        "log_loss": result.log_loss,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
    }


def table(found: Found, top: int) -> str:
    """Return a row for each of the best heads, and for that of params.yaml, for a terminal."""
    shown = list(enumerate(found.ranking[:top], 1))
    current = found.current
    if current is not None and all(one is not current for _, one in shown):
        shown.append((found.ranking.index(current) + 1, current))
    rows = [("", "accuracy", "95 % interval", "log loss", "epochs", "train_head")]
    for place, one in shown:
        row = _row(one)
        rows.append((
            f"{place}",
            percent(row["accuracy"]),
            f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}",
            f"{row['log_loss']:.4f}",
            f"{row['epochs']}",
            changes_text(one.trial.changes),
        ))  # fmt: skip
    return columns(rows, "rrrrrl")


def sentences(found: Found) -> list[str]:
    """Return what the table means."""
    estimate, test = found.estimate(), found.against_current()
    new = len(found.trials) - found.recorded
    outcomes = [
        f"{found.count(name)} {said}"
        for name, said in (("stopped", "stopped early"), ("failed", "diverged"))
        if found.count(name)
    ]
    more = "".join(f", {each}" for each in outcomes)
    trained = (
        f"{counted(len(found.trials), 'head')}: {new:,} trained now, {found.recorded:,} recorded "
        f"before{more}. 0 forward passes. Accuracy on the "
        f"{counted(found.images, 'validation image')}; log loss: the same measure for softmax and "
        "sigmoid."
    )
    half = ""
    if found.guides is not None:
        half = (
            f" The sampler has seen {found.images - found.fresh:,} of the validation images; the "
            f"estimate rests on the other {found.fresh:,}."
        )
    expected = (
        f"The best of {counted(len(found.ranking), 'head')} looks better than it is: expect "
        f"{percent(estimate.accuracy)} ({percent(estimate.low)} to {percent(estimate.high)}) of it "
        f"on new images, not {percent(estimate.apparent)}.{half} No test image was used."
    )
    lines = [trained, expected]
    if test is not None:
        lines.append(
            f"The best against the head of params.yaml: p = {p_text(test.p)} (McNemar's exact "
            "test on the images that chose it)."
        )
    return lines

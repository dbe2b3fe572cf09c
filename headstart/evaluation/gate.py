"""The gate: bounds on the scores of a model, each checked by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart.evaluation.metrics import METRICS
from headstart.evaluation.parameters import GateParams


@dataclass(frozen=True)
class Check:
    """One requirement with the model's value, both as text."""

    name: str
    value: str
    bound: str
    passed: bool


def is_open(bounds: GateParams) -> bool:
    """Return whether nothing is required of a model."""
    return not bounds.not_worse_than_release and all(
        getattr(bounds, metric.bound) is None for metric in METRICS if metric.gate
    )


def check_scores(scores: Mapping[str, Any], bounds: GateParams) -> list[Check]:
    """Return a check for every bound that is set; a missing metric does not pass."""
    checks = []
    for metric in METRICS:
        bound = getattr(bounds, metric.bound) if metric.gate else None
        if bound is None:
            continue
        value = scores.get(metric.key)
        known = isinstance(value, int | float)
        higher = metric.better == "higher"
        passed = known and (value >= bound if higher else value <= bound)
        shown = f"{value:.4f}" if known else "unknown"
        checks.append(Check(metric.name, shown, f"{'≥' if higher else '≤'} {bound:g}", passed))
    return checks

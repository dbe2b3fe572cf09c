"""`headstart gate`: whether a scheduled run may export the model in `data`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from headstart.cli.front import PARAMS, command

if TYPE_CHECKING:
    from headstart.cli.predictions import Side
    from headstart.evaluation.parameters import GateParams

HELD = 5


@dataclass(frozen=True)
class Check:
    """One thing that was asked of the model."""

    name: str
    value: str
    bound: str
    passed: bool


@command(
    says="Hold the scores in `data` against the section `gate` of params.yaml, and the model "
    "against the last released one. `headstart run` asks before it exports. Exit code 0: passed; "
    "5: held.",
    epilog="Example: set gate.min_accuracy to 0.95 in params.yaml, then `headstart gate`.",
)
def gate() -> None:
    """Print every check and the answer."""
    from headstart._utils.tables import columns
    from headstart.stage.parameters import read_params

    root = Path.cwd()
    bounds = read_params(PARAMS).gate
    if not asks(bounds):
        typer.echo("Passed: nothing is asked of a model (section `gate` of params.yaml).")
        return

    from headstart.cli.predictions import WORKSPACE, side
    from headstart.pipeline.storage import Storage

    storage = Storage(root)
    here = side(root, WORKSPACE, storage)
    checks = bounded(here.metrics["model"], bounds)
    if bounds.not_worse_than_release:
        check, said = _against_release(root, here, bounds, storage)
        checks.append(check)
        typer.echo(said)
    rows = [("", "is", "must be", ""), *(_row(check) for check in checks)]
    typer.echo(columns(rows, "lrrl"))
    held = [check.name for check in checks if not check.passed]
    if held:
        typer.echo(f"Held: {', '.join(held)}. No model is exported by `headstart run`.")
        raise typer.Exit(HELD)
    typer.echo("Passed.")


def asks(bounds: GateParams) -> bool:
    """Return whether anything is required of a model at all."""
    from headstart.evaluation.metrics import METRICS

    return bounds.not_worse_than_release or any(
        getattr(bounds, metric.bound) is not None for metric in METRICS if metric.gate
    )


def bounded(scores: Mapping[str, Any], bounds: GateParams) -> list[Check]:
    """Return a check for every bound that is set; a metric that is absent does not pass."""
    from headstart.evaluation.metrics import METRICS

    found = []
    for metric in METRICS:
        bound = getattr(bounds, metric.bound) if metric.gate else None
        if bound is None:
            continue
        value = scores.get(metric.key)
        known = isinstance(value, int | float)
        higher = metric.better == "higher"
        passed = known and (value >= bound if higher else value <= bound)
        shown = f"{value:.4f}" if known else "unknown"
        sign = "≥" if higher else "≤"
        found.append(Check(metric.name, shown, f"{sign} {bound:g}", passed))
    return found


def _against_release(root: Path, here: Side, bounds: GateParams, storage: Any) -> tuple[Check, str]:
    """The paired test, and what it says; what cannot be tested does not pass."""
    from headstart.cli.compare import sentence, together
    from headstart.cli.predictions import side
    from headstart.pipeline.git import Repository

    name = "not worse than the last release"
    tag = Repository(root).nearest_tag(bounds.release_tags)
    if tag is None:
        return (
            Check(name, "no release", "", passed=True),
            f"There is no release yet: no tag {bounds.release_tags!r} on this commit or behind it.",
        )
    released = side(root, tag, storage)
    found = together(released, here)
    if found is None or not found.shared:
        said = sentence(released, here, found)
        return Check(name, "untested", f"tested against {tag}", passed=False), said
    p = found.test.p_worse
    chance = f"so many losses or more had a chance of {p:.3g} if both were equally good"
    bound = f"p ≥ {bounds.significance:g} against {tag}"
    check = Check(name, f"p = {p:.4f}", bound, passed=p >= bounds.significance)
    return check, sentence(released, here, found, chance)


def _row(check: Check) -> Sequence[str]:
    return check.name, check.value, check.bound, "passed" if check.passed else "HELD"

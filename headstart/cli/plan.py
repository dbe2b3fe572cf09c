"""`headstart plan`: what the next run would do, with passes, time, downloads and disk space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.tables import columns
from headstart.cli.front import command, read_parameters

if TYPE_CHECKING:
    from headstart.pipeline.durations import Span
    from headstart.pipeline.plan import Planned


@command(
    epilog="Example: set backbone.image_size to 96 in params.yaml, then `headstart plan`.",
    needs="project",
)
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Show what the next run would do, and why, without running it.

    The plan lists the stages that `dvc repro` would run, the number of images that would go through
    the backbone, the estimated time with its range, the downloads, and the disk space. New images
    are counted without running `download`: the source is listed and its files are hashed.
    """
    import json

    parameters = read_parameters()  # Before DVC, whose messages about faults are vague.

    from headstart.cli.plan_costs import Costs
    from headstart.pipeline import durations, estimate

    planned = planned_run(Path.cwd())
    costs = Costs(parameters, planned)
    passes = estimate.passes(planned, costs.wanted, costs.missing)
    epochs, augmented = parameters.fine_tune.epochs, parameters.fine_tune.augment.active
    tuning = estimate.tuning(planned, epochs, costs.per_split, augmented=augmented)
    work = costs.work(passes)
    seconds = {
        entry.stage.name: durations.seconds(entry, work, network_changed=costs.network_changed)
        for entry in planned
    }
    total = durations.total(planned, seconds, costs.load())
    downloads, room = costs.downloads(), costs.room(passes)
    if not as_json:
        lines = [passes, tuning, total, costs.speed(passes), *downloads, *room]
        shown = [str(line) for line in lines if line is not None]
        typer.echo(f"{_table(planned, seconds)}\n\n" + "\n".join(shown))
        return
    stages = [
        {
            "name": entry.stage.name,
            "fate": entry.fate,
            "reasons": entry.reasons,
            "seconds": None if (span := seconds[entry.stage.name]) is None else span.about,
        }
        for entry in planned
    ]
    answer = {
        "stages": stages,
        "passes": asdict(passes),
        "fine_tuning": None if tuning is None else asdict(tuning),
        "seconds": asdict(total),
        "downloads": [asdict(each) for each in downloads],
        "room": [asdict(each) for each in room],
    }
    typer.echo(json.dumps(answer, indent=2))


def planned_run(root: Path) -> tuple[Planned, ...]:
    """Return the plan of a project's stages."""
    from headstart.pipeline import graph
    from headstart.pipeline.plan import changes
    from headstart.pipeline.plan import plan as decide

    return decide(graph.stages(root), changes(root))


def _table(planned: Sequence[Planned], seconds: Mapping[str, Span | None]) -> str:
    rows = [("stage", "in the next run", "seconds", "why")]
    for entry in planned:
        span = seconds[entry.stage.name]
        shown = "" if not entry.reasons else "?" if span is None else f"{span.about:.1f}"
        reasons = list(entry.reasons) or [""]
        if len(reasons) > 4:
            reasons = [*reasons[:3], f"and {len(reasons) - 3} more"]
        rows.append((entry.stage.name, entry.fate, shown, reasons[0]))
        rows += [("", "", "", reason) for reason in reasons[1:]]
    return columns(rows, "llrl")

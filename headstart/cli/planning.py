"""`headstart plan` and `headstart summary`: what would run, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import PARAMS, command

if TYPE_CHECKING:
    import pandas as pd

    from headstart.features.views import RecordedViews
    from headstart.pipeline.estimate import Wanted
    from headstart.pipeline.graph import Stage
    from headstart.pipeline.plan import Planned


@command(
    says="Say which stages the next `dvc repro` would run and why, how many images would pass "
    "through the backbone, and how long it would take. Runs nothing.",
    epilog="Example: set backbone.image_size to 96 in params.yaml, then `headstart plan`.",
)
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Print the plan of the project in the current folder."""
    import json

    from headstart.stage.parameters import read_params

    parameters = read_params(PARAMS)  # before DVC, which has no words for its faults

    from headstart.pipeline import estimate

    planned = _planned()
    used = cache(partial(_used, parameters))  # Both ask for it, and it takes a while.
    passes = estimate.passes(
        planned,
        lambda images: _wanted(parameters, used(images)),
        partial(_outlook, parameters),
    )
    epochs, augmented = parameters.fine_tune.epochs, parameters.fine_tune.augment.active
    tuning = estimate.tuning(
        planned, epochs, lambda images: _counts(used(images)), augmented=augmented
    )
    changed = estimate.epochs_changed(planned, epochs)
    seconds = {
        entry.stage.name: estimate.seconds(entry, passes, epochs_changed=changed)
        for entry in planned
    }
    total = estimate.total(planned, seconds)
    if as_json:
        stages = [
            {
                "name": entry.stage.name,
                "fate": entry.fate,
                "reasons": entry.reasons,
                "seconds": seconds[entry.stage.name],
            }
            for entry in planned
        ]
        answer = {
            "stages": stages,
            "passes": asdict(passes),
            "fine_tuning": None if tuning is None else asdict(tuning),
            "seconds": asdict(total),
        }
        typer.echo(json.dumps(answer, indent=2))
    else:
        lines = [str(line) for line in (passes, tuning, total) if line is not None]
        typer.echo(f"{_table(planned, seconds)}\n\n" + "\n".join(lines))


@command(
    says="Show the scores of the model in `data`, the exported files, and the passes and seconds "
    "of the last run that had something to compute.",
    epilog="Example: headstart summary",
)
def summary() -> None:
    """Print what `data` holds of the latest run."""
    from headstart._utils.files import read_json
    from headstart.evaluation.summary import passes_text, scores_text
    from headstart.report.cost import files_of

    planned = _planned()
    stages = {entry.stage.name: entry.stage for entry in planned}
    metrics = Path(_option(stages, "evaluate", "metrics"))
    exported = Path(_option(stages, "export", "export_folder"))
    table = Path(_option(stages, "evaluate", "run_statistics")) / "runtime.json"
    if not metrics.exists():
        raise HeadstartError(f"There is no {metrics} yet. Run the pipeline first: `dvc repro`.")
    waiting = [entry.stage.name for entry in planned if entry.reasons]
    if waiting:
        typer.echo(
            f"OLD: since this was made, something changed; {', '.join(waiting)} would run now "
            "(`headstart plan` says why).\n"
        )
    typer.echo(scores_text(read_json(metrics)))
    if table.exists():
        typer.echo("\nThe last run that had something to compute:")
        typer.echo(passes_text(read_json(table)))
    if exported.is_dir():
        typer.echo(f"\nExported to {exported}, each form reloaded and compared:")
        for file in files_of(exported):
            typer.echo(f"  {file['name']:22}{file['bytes'] / 1e6:8.1f} MB")
    page = Path(_option(stages, "make_report", "page"))
    typer.echo(f"\n{_where(page, metrics)}")


def _where(page: Path, metrics: Path) -> str:
    """Where the report is; DVC brings back other files, and not the page beside them."""
    if not page.exists():
        return "No report was written yet: `headstart report` writes it."
    if page.stat().st_mtime < metrics.stat().st_mtime:
        return f"The report {page} is older than these scores: `headstart report` writes it again."
    return f"Report: {page} (open it in a browser, or `headstart report --open`)"


def _option(stages: Mapping[str, Stage], stage: str, option: str) -> str:
    from headstart.pipeline.plan import options

    return options(stages[stage])[option]


def _planned() -> tuple[Planned, ...]:
    from headstart.pipeline import graph
    from headstart.pipeline.plan import changes
    from headstart.pipeline.plan import plan as decide

    root = Path.cwd()
    return decide(graph.stages(root), changes(root))


def _wanted(parameters: Any, used: pd.DataFrame) -> Wanted:
    """The images that will be in use, and their views that are recorded."""
    from headstart.pipeline.estimate import Wanted

    views = _views(parameters)
    train = dict.fromkeys(used.loc[used["split"] == "train", "image_id"]) if views.count else ()
    keys = [key for image_id in train for key in views.keys(image_id)]
    return Wanted(list(dict.fromkeys(used["image_id"])), keys)


def _views(parameters: Any) -> RecordedViews:
    from headstart.features.views import RecordedViews

    return RecordedViews.of(parameters.extract_features, parameters.seed)


def _counts(used: pd.DataFrame) -> dict[str, int]:
    """How many images of each split will be in use."""
    from headstart.datasets.manifests import SPLITS

    counts = used["split"].value_counts()
    return {name: int(counts.get(name, 0)) for name in SPLITS}


def _used(parameters: Any, images: Path) -> pd.DataFrame:
    """The manifest after division and sample, computed in memory."""
    from headstart.datasets.manifests import read_images
    from headstart.datasets.samples import draw
    from headstart.datasets.splits import split
    from headstart.pipeline.estimate import UnknownError

    try:
        manifest = split(read_images(images), parameters.split, parameters.seed).manifest
    except HeadstartError as error:
        raise UnknownError(f"they cannot be divided: {error}") from error
    return draw(manifest, parameters.sample, parameters.seed)


def _outlook(parameters: Any, folder: Path, wanted: Wanted) -> tuple[int, float | None]:
    """Images and views that the feature stores lack, and seconds a pass."""
    from headstart.backbones.record import read_backbone
    from headstart.features.extraction import fingerprint_record
    from headstart.features.store import estimate
    from headstart.pipeline.estimate import UnknownError

    engine = parameters.extract_features.engine
    if engine == "keras":
        raise UnknownError("what is recorded depends on the device, which only TensorFlow knows")
    try:
        record = fingerprint_record(read_backbone(folder), engine)
        plain = estimate(record, wanted.images)
        views = estimate(_views(parameters).record(record), wanted.views)
    except HeadstartError as error:
        raise UnknownError(str(error)) from error
    missing = plain.missing + views.missing
    # What was never measured takes about as long as the other.
    known = [each for each in (plain.seconds_per_pass, views.seconds_per_pass) if each is not None]
    if not missing or not known:
        return missing, known[0] if known else None
    seconds = plain.missing * known[0] + views.missing * known[-1]
    return missing, seconds / missing


def _table(planned: Sequence[Planned], seconds: Mapping[str, float | None]) -> str:
    from headstart._utils.tables import columns

    rows = [("stage", "in the next run", "seconds", "why")]
    for entry in planned:
        took = seconds[entry.stage.name]
        shown = "" if not entry.reasons else "?" if took is None else f"{took:.1f}"
        reasons = list(entry.reasons) or [""]
        if len(reasons) > 4:
            reasons = [*reasons[:3], f"and {len(reasons) - 3} more"]
        rows.append((entry.stage.name, entry.fate, shown, reasons[0]))
        rows += [("", "", "", reason) for reason in reasons[1:]]
    return columns(rows, "llrl")

"""`headstart drift`: decide whether new images are like those of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.tables import columns, counted, plain
from headstart.cli import incoming
from headstart.cli.front import StageFiles, command, read_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headstart.cli.images import Reading
    from headstart.incoming.alike import Verdict

NOT_ALIKE = 5
#: No p is smaller, so that nothing would ever be unlike (three tests, DRAWS of sides, and the own).
_LEAST = 0.0075


@dataclass(frozen=True)
class _Judged:
    """A verdict, the images from the most unlike one on, and the inputs that were read."""

    verdict: Verdict
    unlike: list[dict[str, Any]]
    reading: Reading | None = None
    notes: Sequence[str] = ()


@command(
    epilog="Examples: headstart drift inbox/ | headstart drift inbox/ --json > drift.json | "
    "headstart predict inbox/ --format jsonl > today.jsonl; headstart drift today.jsonl",
    needs="project",
)
def drift(
    images: incoming.Images,
    significance: Annotated[
        float,
        typer.Option(min=_LEAST, max=1, help="False alarms that are accepted, as a share."),
    ] = 0.01,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="Most unlike images to list.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Check whether new images are like those of the run.

    Compares new images with the validation and test images: their features, brightness, sharpness,
    size and predicted classes. One .jsonl or .csv file instead of images: predictions that
    `headstart predict` wrote; their classes and probabilities are compared. Each image goes through
    the backbone once. At least 20 images are needed. Exit code: 0 alike, 5 not alike, 1 nothing to
    compare; 3 alike, but some files could not be read.
    """
    from headstart.incoming.predictions import ENDINGS

    recorded = len(images) == 1 and images[0].lower().endswith(ENDINGS)
    found = _of_predictions(Path(images[0])) if recorded else _of_images(images)
    alike = found.verdict.p > significance
    if as_json:
        reasons = found.verdict.reasons(significance)
        record = {"alike": alike, "reasons": reasons, "significance": significance}
        record |= found.verdict.record()
        typer.echo(json.dumps({**record, "most_unlike": found.unlike[:count]}, indent=2))
    else:
        _print(found, alike=alike, significance=significance, count=count)
    if not alike:
        for note in found.notes:
            typer.echo(note, err=True)
        raise typer.Exit(NOT_ALIKE)
    if found.reading is not None:
        found.reading.end(*found.notes)


def _of_images(words: list[str]) -> _Judged:
    from headstart.incoming.files import judge_files

    seed = read_parameters().seed
    reading, run = incoming.open_run(words)
    manifest, groups, shards = _run_files()
    new = incoming.read_new(reading, run)
    if not reading.read:
        reading.end()
    verdict, near, far = judge_files(run, manifest, groups, shards, new, reading.limits, seed)
    probabilities = run.probabilities(new.features)
    unlike = [
        {
            "file": new.inputs[row].name,
            "label": run.classes[int(probabilities[row].argmax())],
            "probability": round(float(probabilities[row].max()), 4),
            "distance": float(far[row]),
            "farther_than": round(float((near < far[row]).mean()), 4),
        }
        for row in (-far).argsort(kind="stable")
    ]
    return _Judged(verdict, unlike, reading, incoming.left_out(new))


def _of_predictions(path: Path) -> _Judged:
    from headstart.evaluation.predictions import read_predictions
    from headstart.incoming.predictions import judge_recorded, read_recorded
    from headstart.training.model_folder import read_model

    files = StageFiles(Path.cwd())
    table, model = files.existing("evaluate", "predictions", "model")
    classes = read_model(model).classes
    manifest, groups, _ = _run_files()
    new = read_recorded(path, classes)
    predictions = read_predictions(table, classes)
    seed = read_parameters().seed
    verdict = judge_recorded(predictions, manifest, groups, new, classes, seed)
    unlike = [
        {
            "file": new.files[row],
            "label": classes[new.labels[row]],
            "probability": float(new.confidence[row]),
        }
        for row in new.confidence.argsort(kind="stable")
    ]
    return _Judged(verdict, unlike)


def _run_files() -> tuple[Any, dict[str, str], Path]:
    """Return the sample manifest, the groups of near duplicates, and the folder of shards."""
    from headstart.datasets.duplicates import read_groups
    from headstart.datasets.manifests import read_split

    files = StageFiles(Path.cwd())
    manifest, shards = files.existing("extract_features", "manifest", "images")
    (groups,) = files.existing("find_duplicates", "groups")
    return read_split(manifest), read_groups(groups), shards


def _print(found: _Judged, *, alike: bool, significance: float, count: int) -> None:
    verdict = found.verdict
    typer.echo(
        f"{'Alike' if alike else 'Not alike'} (p = {verdict.p:.4f}): "
        f"{counted(verdict.new, 'new image')}, compared with {verdict.known:,} of the run."
    )
    for reason in () if alike else verdict.reasons(significance):
        typer.echo(f"  {plain(reason)}")
    rows = found.unlike[:count]
    if rows:
        names = list(rows[0])
        typer.echo("Most unlike the run's images:")
        cells = [[plain(str(row[name])) for name in names] for row in rows]
        typer.echo(columns([names, *cells], "ll" + "r" * (len(names) - 2)))

"""`headstart compare-backbones`: measure pretrained backbones on the project's own images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import PARAMS, StageFiles, command, read_parameters

if TYPE_CHECKING:
    from headstart.selection.candidates import Candidate
    from headstart.selection.choice import Choice, Measured
    from headstart.selection.comparison import Comparison


@command(
    epilog="Examples: headstart compare-backbones headstart-small mobilenet_v2 "
    "mobilenet_v2@alpha=0.35 --budget-ms 5 | headstart compare-backbones current "
    "mobilenet@image_size=128,weights=mobilenet.h5 --write",
    needs="project",
)
def compare_backbones(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="NAME or NAME@KEY=VALUE,… with keys of `backbone` in params.yaml; `current` is "
            "the one that is set there.",
        ),
    ],
    budget_ms: Annotated[
        float | None,
        typer.Option(min=0.0, help="Maximum milliseconds of a forward pass on this machine."),
    ] = None,
    budget_mb: Annotated[
        float | None, typer.Option(min=0.0, help="Maximum megabytes of the network's file.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the chosen backbone into params.yaml.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for CSV, JSON and a chart (PNG)."),
    ] = None,
    all_test_scores: Annotated[
        bool,
        typer.Option(
            "--all-test-scores",
            help="Show every backbone's test score, for a study: nothing is chosen by it.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Choose a backbone by measuring several on your images.

    Each one is converted once, and runs once over the training and validation images of
    data/manifests; repeating the command runs nothing. A linear probe and the nearest neighbors
    classify its features. The choice is made on the validation images, within the budgets, and the
    test score is shown of the chosen backbone alone. Exit code: 1 if nothing fits the budget.
    Without --write, nothing in the project changes.
    """
    import json

    from headstart.selection import tables
    from headstart.selection.candidates import candidates
    from headstart.selection.choice import Budget, choose

    parameters = read_parameters()
    wanted = candidates(names, parameters.backbone)
    if output is not None and not tables.is_ours(output):
        raise ParameterError(
            f"`--output` must be a new folder, or one that this command wrote. {output} holds "
            "other files. Nothing was run."
        )
    comparison = _comparison(wanted, parameters)
    choice = choose(comparison.measure(), Budget(budget_ms, budget_mb))
    tested = _tested(comparison, choice, every=all_test_scores)
    if output is not None:
        tables.write(output, choice, tested)
    if as_json:
        typer.echo(json.dumps(tables.values(choice, tested), indent=2))
    else:
        lines = [tables.table(choice), "", *tables.sentences(choice)]
        typer.echo("\n".join([*lines, *map(tables.test_sentence, tested)]))
    if tested:
        _note(comparison, tested)
    if output is not None:
        _say(f"Written: {output}")
    _end(choice, write=write)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _comparison(wanted: list[Candidate], parameters: Any) -> Comparison:
    from headstart.datasets.manifests import read_split
    from headstart.selection.comparison import Comparison, prepare
    from headstart.selection.guesses import Images

    files = StageFiles(Path.cwd())
    manifest, images = files.existing("extract_features", "manifest", "images")
    rows = read_split(manifest)
    engine, seed = parameters.extract_features.engine, parameters.seed
    return Comparison(Images(rows), images, prepare(wanted, engine, seed), seed, _say)


def _tested(comparison: Comparison, choice: Choice, *, every: bool) -> list[Measured]:
    """Return the chosen backbone with its test scores, or every one."""
    shown = choice.measured if every else [one for one in [choice.chosen] if one is not None]
    return [comparison.tested(one) for one in shown]


def _note(comparison: Comparison, tested: list[Measured]) -> None:
    from headstart.selection.reported import Reported, note

    prints = {one.candidate.label: one for one in comparison.prepared}
    shown = []
    for one in tested:
        with prints[one.candidate.label].store() as store:
            shown.append(Reported(fingerprint=store.fingerprint, backbone=one.candidate.label))
    warning = note(comparison.images, shown)
    if warning:
        _say(warning)


def _end(choice: Choice, *, write: bool) -> None:
    """Write the choice into params.yaml, or print how to do it."""
    if choice.chosen is None:
        nearest = min(choice.measured, key=lambda one: (one.milliseconds, one.megabytes))
        raise HeadstartError(
            f"No backbone keeps within {choice.budget}. Nothing was chosen and no test image was "
            f"used. The fastest, {nearest.candidate.label}, needs {nearest.milliseconds:.2f} ms "
            f"and {nearest.megabytes:.1f} MB. Raise the budget, or name smaller backbones: a lower "
            "`alpha` or `image_size`."
        )
    label = choice.chosen.candidate.label
    if not write:
        _say(f"`--write` writes {label} into {PARAMS}; `dvc repro` then costs no forward pass.")
        return
    from headstart.pipeline import recipes

    changed = recipes.apply(PARAMS, [{"backbone": choice.chosen.candidate.params.model_dump()}])
    for line in changed or ["Nothing to change."]:
        _say(line)
    _say(f"{PARAMS} now has the backbone {label}. Next: `headstart plan`, then `dvc repro`.")

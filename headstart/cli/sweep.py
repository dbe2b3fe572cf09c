"""`headstart sweep`: train many heads on the cached features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import PARAMS, StageFiles, command, read_parameters

if TYPE_CHECKING:
    from headstart.selection.grid import Trial
    from headstart.selection.sweep import Found

INTERRUPTED = 130


@command(
    epilog="Examples: headstart sweep | headstart sweep --set train_head.learning_rate=0.001,0.01 "
    "--set 'train_head.hidden=[],[128]' --write | headstart sweep "
    "--set train_head.weight_decay=0.01..10 --trials 50 --keep 2",
    needs="project",
)
def sweep(
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="Values for a key of `train_head`, by commas, or LOW..HIGH; repeatable.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Draw so many heads. Default: all combinations.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Heads at the same time. Default: one per core.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Heads to show.")] = 10,
    keep: Annotated[
        int, typer.Option(min=0, help="Run the best heads to the end, as DVC experiments.")
    ] = 0,
    write: Annotated[
        bool, typer.Option("--write", help="Write the best head into params.yaml.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Find a better head by training many on cached features.

    No image is read and nothing goes through the backbone. Every trial gives the model that
    `dvc repro` gives with its parameters. Trials are kept in the cache folder, so that a killed or
    repeated sweep trains no head twice; those that fall far behind are stopped. The best head is
    chosen on the validation images, and its expected accuracy on new images is estimated; the test
    split is not used. Without --write or --keep, nothing in the project changes.
    """
    import json

    from headstart.selection import sweep_table

    parameters = read_parameters()
    found = _found(parameters, assignments or [], trials, processes)
    if not found.ranking:
        message = next(each.message for each in found.results.values() if each.message)
        raise HeadstartError(f"No head could be trained. The first of the faults: {message}")
    if as_json:
        typer.echo(json.dumps(sweep_table.values(found), indent=2))
    else:
        lines = [sweep_table.table(found, top), "", *sweep_table.sentences(found)]
        typer.echo("\n".join(lines))
    if keep:
        _keep([one.trial for one in found.ranking[:keep]])
    _end(found, write=write)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _found(
    parameters: Any, assignments: list[str], count: int | None, processes: int | None
) -> Found:
    """Read the features and train what is not recorded."""
    from contextlib import redirect_stdout

    from headstart._utils.machine import cores
    from headstart.features.folder import read_features
    from headstart.selection.grid import axes, trials
    from headstart.selection.journal import Journal
    from headstart.selection.sweep import sweep as run
    from headstart.training.inputs import check_classes

    values = axes(assignments)
    (folder,) = StageFiles(Path.cwd()).existing("train_head", "features")
    features = read_features(folder)
    views, seed = features.header.view_count, parameters.seed
    wanted = trials(values, parameters.train_head, views, count, seed)
    with redirect_stdout(sys.stderr):
        for params in {trial.params.outputs: trial.params for trial in wanted}.values():
            check_classes(features, params)
    journal, images = Journal(features.header, seed), len(features.labels("validation"))
    try:
        return run(folder, journal, wanted, images, processes or cores(), seed)
    except KeyboardInterrupt:
        _say("\nInterrupted. The finished heads are kept: the same command resumes.")
        raise typer.Exit(INTERRUPTED) from None


def _keep(best: list[Trial]) -> None:
    """Keep trials as experiments, each once."""
    from headstart.cli.front import require_project
    from headstart.pipeline import experiments
    from headstart.selection.grid import VIEWS
    from headstart.selection.trials import identity_of

    root = Path.cwd()
    require_project(root, commits=True)
    known = experiments.names(root)
    for trial in best:
        name = f"sweep-{identity_of(trial)[:8]}"
        if name in known:
            _say(f"{name} is kept already.")
            continue
        if not trial.changes:
            _say("The head of params.yaml is what `dvc repro` gives: no experiment.")
            continue
        _say(f"Running {name} …")
        first = "extract_features" if VIEWS in trial.changes else "train_head"
        experiments.keep(root, name, trial.changes, first)
        _say(f"Kept: {name}. `dvc exp apply {name}` puts it into this folder.")


def _end(found: Found, *, write: bool) -> None:
    """Write the best head into params.yaml, or say how."""
    from headstart.pipeline import recipes
    from headstart.selection.sweep_table import changes_text

    changes = found.ranking[0].trial.changes
    if not write or not changes:
        if changes:
            _say(f"`--write` writes {changes_text(changes)} into {PARAMS}.")
        return
    layer: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        layer.setdefault(section, {})[name] = value
    for line in recipes.apply(PARAMS, [layer]):
        _say(line)
    _say(f"{PARAMS} now has the best head. Next: `dvc repro`.")

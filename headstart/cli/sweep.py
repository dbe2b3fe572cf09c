"""`headstart sweep`: train many heads on the cached features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import PARAMS, StageFiles, command, read_parameters

if TYPE_CHECKING:
    from headstart.features.folder import Features
    from headstart.selection.grid import Trial
    from headstart.selection.journal import Journal
    from headstart.selection.sweep import Found

INTERRUPTED = 130


@command(
    epilog="Examples: headstart sweep | headstart sweep --set train_head.learning_rate=0.001,0.01 "
    "--set 'train_head.hidden=[],[128]' --write | headstart sweep "
    "--set train_head.weight_decay=0.01..10 --trials 50 --keep 2 | "
    "headstart sweep --sampler tpe --trials 60",
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
        int | None,
        typer.Option(
            min=1,
            help="Number of heads to draw, beside that of params.yaml. Required by --sampler tpe; "
            "default for grid: all combinations.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["grid", "tpe"],
        typer.Option(
            help="grid: combinations of the values. tpe: Optuna proposes --trials heads, learning "
            "from those before."
        ),
    ] = "grid",
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

    from headstart._utils.machine import cores
    from headstart.selection import sweep_table

    parameters = read_parameters()
    find = _searched if sampler == "tpe" else _found
    found = find(parameters, assignments or [], trials, processes or cores())
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


def _found(parameters: Any, assignments: list[str], count: int | None, processes: int) -> Found:
    """Train the combinations of the values that are not recorded."""
    from headstart.selection.grid import axes, trials
    from headstart.selection.sweep import sweep as run

    values = axes(assignments)
    folder, features = _features()
    views, seed = features.header.view_count, parameters.seed
    wanted = trials(values, parameters.train_head, views, count, seed)
    _check(features, wanted)
    images = len(features.labels("validation"))
    with _resumable():
        return run(folder, _journal(features, seed), wanted, images, processes, seed)


def _searched(parameters: Any, assignments: list[str], count: int | None, processes: int) -> Found:
    """Train the heads that a sampler proposes and that are not recorded."""
    from headstart.selection.grid import DEFAULT_RANGES, axes, pairs
    from headstart.selection.halves import guiding
    from headstart.selection.proposals import Proposals, require_optuna
    from headstart.selection.sweep import search

    values = axes(assignments, DEFAULT_RANGES)
    if count is None:
        raise ParameterError(
            "`--sampler tpe` needs the number of heads: `--sampler tpe --trials 50`. Nothing was "
            "trained."
        )
    require_optuna()
    folder, features = _features()
    base, views, seed = parameters.train_head, features.header.view_count, parameters.seed
    _check(features, pairs(values, base, views))
    guides = guiding(len(features.labels("validation")), seed)
    proposals = Proposals(values, base, views, guides, seed)
    with _resumable():
        return search(
            folder, _journal(features, seed), proposals, count + 1, guides, processes, seed
        )


def _features() -> tuple[Path, Features]:
    from headstart.features.folder import read_features

    (folder,) = StageFiles(Path.cwd()).existing("train_head", "features")
    return folder, read_features(folder)


def _journal(features: Features, seed: int) -> Journal:
    from headstart.selection.journal import Journal

    return Journal(features.header, seed)


def _check(features: Features, wanted: list[Trial]) -> None:
    """Refuse heads that cannot learn these classes."""
    from contextlib import redirect_stdout

    from headstart.training.inputs import check_classes

    with redirect_stdout(sys.stderr):
        for params in {trial.params.outputs: trial.params for trial in wanted}.values():
            check_classes(features, params)


@contextmanager
def _resumable() -> Iterator[None]:
    """Say that an interrupted sweep can go on."""
    try:
        yield
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

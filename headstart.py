"""The ``headstart`` command. Each subcommand imports what it needs when it is called."""

# ruff: noqa: PLC0415 - that a subcommand imports what it needs is the point

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from stages.core.errors import HeadstartError

if TYPE_CHECKING:
    import pandas as pd

    from flows.dag import Stage
    from flows.plan import Planned

P = ParamSpec("P")

PARAMS = Path("params.yaml")
RECIPES = Path(__file__).resolve().parent / "recipes"

app = typer.Typer(
    name="headstart",
    help="A folder of labelled pictures in, a verified image classifier out.",
    epilog="`dvc repro` runs the pipeline; `headstart plan` says first what it would do.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help starts faster, and is the same in every terminal
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Keep the subcommands' names, however many there are."""


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Show a person's error as its message alone, and exit with its code."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except HeadstartError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None

    return wrapper


@app.command(
    help="Say which stages the next `dvc repro` would run and why, how many pictures would pass "
    "through the base, and how long it would take. Runs nothing.",
    epilog="Example: set backbone.image_size to 96 in params.yaml, then `headstart plan`.",
)
@told
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Print the plan of the project in the current folder."""
    import json

    from stages.core.params.reader import read_params

    parameters = read_params(PARAMS)  # before DVC, which has no words for its faults

    from flows import forecast

    planned = _planned()
    engine = parameters.extract_features.engine
    passes = forecast.passes(planned, partial(_pictures, parameters), partial(_outlook, engine))
    epochs, augment = parameters.fine_tune.epochs, parameters.fine_tune.augment
    counts = partial(_counts, parameters)
    tuning = forecast.tuning(planned, epochs, counts, augmented=augment.active)
    changed = forecast.epochs_changed(planned, epochs)
    seconds = {
        entry.stage.name: forecast.seconds(entry, passes, epochs_changed=changed)
        for entry in planned
    }
    total = forecast.total(planned, seconds)
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


@app.command(
    help="Check params.yaml without running anything: every fault in one message, with its line.",
    epilog="Example: headstart params recipes/mine.yaml",
)
@told
def params(
    file: Annotated[Path, typer.Argument(help="The parameter file.")] = PARAMS,
) -> None:
    """Print "fine", or what is wrong."""
    from stages.core.params.reader import read_params

    read_params(file)
    typer.echo(f"{file} is fine.")


@app.command(
    help="List the pretrained bases for `backbone.name`: the picture sizes that they were trained "
    "on and take at least, width multipliers for `backbone.alpha`, and features a picture.",
    epilog="Example: `name: mobilenet_v2` and `alpha: 0.5` under `backbone` in params.yaml, or "
    "`dvc exp run -S backbone.name=vgg16 -S backbone.alpha=1.0 -S backbone.weights=imagenet` for a "
    "trial.",
)
@told
def backbones() -> None:
    """Print the table of backbones."""
    from stages.core.backbones import BACKBONES
    from stages.core.tables import columns

    rows = [("name", "size", "least", "features", "alpha", "license of the weights")]
    for base in BACKBONES.values():
        alphas = ", ".join(f"{alpha:g}" for alpha in base.alphas)
        numbers = (str(base.default_size), str(base.minimum_size), f"{base.width:,}")
        rows.append((base.name, *numbers, alphas, base.licence or "not stated"))
    typer.echo(columns(rows, "lrrrll"))


@app.command(
    help="List the recipes; show one; or, by default for a NAME, write its values into params.yaml "
    "(comments stay, and nothing is written unless the result is valid).",
    epilog="Examples: headstart recipe | headstart recipe cats-dogs --show | "
    "headstart recipe my-photos --set download.location=/path/to/pictures",
)
@told
def recipe(
    name: Annotated[str | None, typer.Argument(help="The recipe; none: list them.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value of your own.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print it, and write nothing.")] = False,
) -> None:
    """Lay a recipe over params.yaml."""
    from stages.core.params import recipe as recipes

    if name is None:
        for known in recipes.names(RECIPES):
            title = recipes.header(recipes.read_text(RECIPES, known)).splitlines()[0]
            typer.echo(f"{known:16}{title}")
        return
    text = recipes.read_text(RECIPES, name)
    if show:
        typer.echo(text, nl=False)
        return
    layers = [recipes.load(text), recipes.parse_assignments(assignments or [])]
    changed = recipes.apply(PARAMS, layers)
    for line in changed or ["Nothing to change."]:
        typer.echo(line)
    typer.echo(f"{PARAMS} now follows the recipe {name}. Next: `headstart plan`, then `dvc repro`.")


@app.command(
    help="Show the scores of the model in `data`, the exported files, and the passes and seconds "
    "of the last run that had something to compute.",
    epilog="Example: headstart summary",
)
@told
def summary() -> None:
    """Print what `data` holds of the latest run."""
    from stages.core.files import read_json
    from stages.report.evaluation import passes_text, scores_text

    planned = _planned()
    stages = {entry.stage.name: entry.stage for entry in planned}
    metrics = Path(_option(stages, "evaluate", "metrics"))
    exported = Path(_option(stages, "export", "export_folder"))
    table = Path(_option(stages, "evaluate", "journal")) / "runtime.json"
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
        for path in sorted(exported.iterdir()):
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            size = sum(file.stat().st_size for file in files) / 1e6
            typer.echo(f"  {path.name + ('/' if path.is_dir() else ''):16}{size:8.1f} MB")


def _option(stages: Mapping[str, Stage], stage: str, option: str) -> str:
    from flows.plan import options

    return options(stages[stage])[option]


def _planned() -> tuple[Planned, ...]:
    from flows import dag
    from flows.plan import plan as decide

    root = Path.cwd()
    try:
        return decide(dag.stages(root), dag.changes(root))
    except dag.GraphError as error:
        raise HeadstartError(str(error)) from error


def _pictures(parameters: Any, images: Path) -> list[str]:
    """Ids of the pictures that will be in use."""
    return list(dict.fromkeys(_used(parameters, images)["image_id"]))


def _counts(parameters: Any, images: Path) -> dict[str, int]:
    """How many pictures of each split will be in use."""
    from stages.artifacts.manifest import SPLITS

    used = _used(parameters, images)["split"].value_counts()
    return {name: int(used.get(name, 0)) for name in SPLITS}


def _used(parameters: Any, images: Path) -> pd.DataFrame:
    """The manifest after division and sample, computed in memory."""
    from flows.forecast import UnknownError
    from stages.artifacts.manifest import read_images
    from stages.sample import draw
    from stages.split import split

    try:
        manifest = split(read_images(images), parameters.split, parameters.seed)
    except HeadstartError as error:
        raise UnknownError(f"they cannot be divided: {error}") from error
    return draw(manifest, parameters.sample, parameters.seed)


def _outlook(engine: str, folder: Path, ids: Sequence[str]) -> tuple[int, float | None]:
    """Pictures that the feature store lacks, and seconds a pass."""
    from flows.forecast import UnknownError
    from stages.artifacts.backbone_record import read_backbone
    from stages.artifacts.feature_store import outlook
    from stages.engine.extraction import fingerprint_record

    if engine == "keras":
        raise UnknownError("what is recorded depends on the device, which only TensorFlow knows")
    try:
        found = outlook(fingerprint_record(read_backbone(folder), engine), ids)
    except HeadstartError as error:
        raise UnknownError(str(error)) from error
    return found.missing, found.seconds_per_pass


def _table(planned: Sequence[Planned], seconds: Mapping[str, float | None]) -> str:
    from stages.core.tables import columns

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


if __name__ == "__main__":
    app(prog_name="headstart")

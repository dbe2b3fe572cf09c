"""`headstart params`, `backbones` and `recipe`: the values that a person chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import ParameterError
from headstart.cli.front import PARAMS, command
from headstart.projects.shipped import root

RECIPES = root() / "recipes"


@command(
    says="Check params.yaml without running anything: every fault in one message, with its line.",
    epilog="Example: headstart params recipes/mine.yaml",
)
def params(
    file: Annotated[Path, typer.Argument(help="The parameter file.")] = PARAMS,
) -> None:
    """Print "fine", or what is wrong."""
    from headstart.stage.parameters import read_params

    read_params(file)
    typer.echo(f"{file} is fine.")


@command(
    says="List the pretrained backbones for `backbone.name`: the sizes that they were trained "
    "on and take at least, width multipliers for `backbone.alpha`, and features an image.",
    epilog="Example: `name: mobilenet_v2` and `alpha: 0.5` under `backbone` in params.yaml, or "
    "`dvc exp run -S backbone.name=vgg16 -S backbone.alpha=1.0 -S backbone.weights=imagenet` for a "
    "trial.",
)
def backbones() -> None:
    """Print the table of backbones."""
    from headstart._utils.tables import columns
    from headstart.backbones.registry import BACKBONES

    rows = [("name", "size", "least", "features", "alpha", "license of the weights")]
    for base in BACKBONES.values():
        alphas = ", ".join(f"{alpha:g}" for alpha in base.alphas)
        numbers = (str(base.default_size), str(base.minimum_size), f"{base.width:,}")
        rows.append((base.name, *numbers, alphas, base.license or "not stated"))
    typer.echo(columns(rows, "lrrrll"))
    typer.echo(
        "\nAny other: a module of TensorFlow Hub, by `name: hub` and `hub: HANDLE` "
        "(`headstart show module HANDLE` tells of it)."
    )


@command(
    says="List the recipes; show one; or, by default for a NAME, write its values into params.yaml "
    "(comments stay, and nothing is written unless the result is valid).",
    epilog="Examples: headstart recipe | headstart recipe cats-dogs --show | "
    "headstart recipe my-photos --set download.location=/path/to/images",
)
def recipe(
    name: Annotated[str | None, typer.Argument(help="The recipe; none: list them.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A value of your own.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print it, and write nothing.")] = False,
) -> None:
    """Lay a recipe over params.yaml."""
    from headstart.pipeline import recipes

    if name is None and assignments:
        raise ParameterError("`--set` goes with a recipe: `headstart recipe NAME --set KEY=VALUE`.")
    if name is None:
        from headstart._utils.tables import columns

        titles = [
            (known, recipes.header(recipes.read_text(RECIPES, known)).splitlines()[0])
            for known in recipes.names(RECIPES)
        ]
        typer.echo(columns(titles, "ll"))
        return
    text = recipes.read_text(RECIPES, name)
    if show:
        typer.echo(text, nl=False)
        return
    layers = [recipes.load(text), recipes.parse_assignments(assignments or [])]
    changed = recipes.apply(PARAMS, layers)
    for line in changed or ["Nothing to change."]:
        typer.echo(line)
    next_step = "Next: `headstart plan`, then `dvc repro`."
    typer.echo(f"{PARAMS} now follows the recipe {name}. {_missing_place(name)}{next_step}")


def _missing_place(name: str) -> str:
    """DVC watches the place of the images, and ends with a bare "No such file" without it."""
    from headstart.stage.parameters import read_params

    location = read_params(PARAMS).download.location
    if Path(location).exists():
        return ""
    return (
        f"Nothing lies at {location} yet: put the images there, or name their place by "
        f"`headstart recipe {name} --set download.location=PATH`. "
    )

"""`headstart params`, `backbones` and `recipe`: the values of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import ParameterError, not_a_project
from headstart._utils.tables import columns
from headstart.cli.front import PARAMS, command, read_parameters
from headstart.projects.shipped import root

RECIPES = root() / "recipes"


@command(
    epilog="Example: headstart params recipes/mine.yaml",
)
def params(
    file: Annotated[Path, typer.Argument(help="The parameter file.")] = PARAMS,
) -> None:
    """Check params.yaml and report every fault with its line.

    Nothing is run.
    """
    if file == PARAMS:
        _require_params()
    read_parameters(file)
    typer.echo(f"{file} is valid.")


@command(
    epilog="Example: `name: mobilenet_v2` and `alpha: 0.5` under `backbone` in params.yaml, or "
    "`dvc exp run -S backbone.name=vgg16 -S backbone.alpha=1.0 -S backbone.weights=imagenet` for a "
    "trial.",
)
def backbones() -> None:
    """List the pretrained backbones for `backbone.name`.

    The table shows the image size of their training, the smallest size, the width multipliers for
    `backbone.alpha`, and the number of features per image.
    """
    from headstart.backbones.registry import BACKBONES

    rows = [("name", "size", "least", "features", "alpha", "license of the weights")]
    for backbone in BACKBONES.values():
        alphas = ", ".join(f"{alpha:g}" for alpha in backbone.alphas)
        numbers = (str(backbone.default_size), str(backbone.minimum_size), f"{backbone.width:,}")
        rows.append((backbone.name, *numbers, alphas, backbone.license or "not stated"))
    typer.echo(columns(rows, "lrrrll"))
    typer.echo(
        "\nA TensorFlow Hub module is a backbone too: `name: hub` and `hub: HANDLE` "
        "(`headstart show module HANDLE` describes it). So is a "
        ".keras, .onnx or .tflite file or a SavedModel: `headstart import-backbone PATH`, which "
        "also gets DINOv2, SigLIP and others from KerasHub."
    )


@command(
    epilog="Examples: headstart recipe | headstart recipe cats-dogs --show | "
    "headstart recipe my-photos --set download.location=/path/to/images",
)
def recipe(
    name: Annotated[str | None, typer.Argument(help="The recipe. Default: list all.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override the value of a key; repeatable."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the recipe, and write nothing.")
    ] = False,
) -> None:
    """List the recipes, or write one into params.yaml.

    With NAME, its values are written. Comments stay, and nothing is written unless the result is
    valid. --show prints the recipe instead.
    """
    from headstart.pipeline import recipes

    if name is None and assignments:
        raise ParameterError("`--set` needs a recipe: `headstart recipe NAME --set KEY=VALUE`.")
    if name is None:
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
    _require_params()
    layers = [recipes.load(text), recipes.parse_assignments(assignments or [])]
    changed = recipes.apply(PARAMS, layers)
    for line in changed or ["Nothing to change."]:
        typer.echo(line)
    next_step = "Next: `headstart plan`, then `dvc repro`."
    typer.echo(f"{PARAMS} now follows the recipe {name}. {_missing_location(name)}{next_step}")


def _require_params() -> None:
    if not PARAMS.is_file():
        raise ParameterError(str(not_a_project(Path.cwd(), PARAMS.name)))


def _missing_location(name: str) -> str:
    """Return a warning if there are no images yet, or not for an experiment in a copy."""
    download = read_parameters().download
    location = download.location
    if Path(location).exists():
        if download.source == "embedded" or Path(location).is_absolute():
            return ""
        return (
            "For queued experiments (`dvc exp run --queue`), which run in a copy without untracked "
            f"files, add `--set download.location={Path(location).absolute()}`. "
        )
    return (
        f"There is nothing at {location} yet: put the images there, or set their location with "
        f"`headstart recipe {name} --set download.location=PATH`. "
    )

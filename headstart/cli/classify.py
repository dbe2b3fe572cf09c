"""`headstart classify`: classify images with a network that is already trained on ImageNet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli import images as shared
from headstart.cli.front import browse, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headstart.report.grids import Cell
    from headstart.serving.inputs import Input

_DRAWN, _COLUMNS = 100, 5  # images of the grid: nobody looks at more
_LARGEST_SIDE = 1024
_DEFAULT_GRID = Path("data/show/classify.png")
_WHICH = (
    "`headstart classify` needs `--imagenet`: it recognizes the 1000 classes of ImageNet "
    "(`headstart classify --imagenet IMAGE…`). For the classes of your own trained model, run "
    "`headstart predict IMAGE…`. Nothing was read."
)


@command(
    epilog="Examples: headstart classify --imagenet photo.jpg holiday/ | "
    "headstart classify --imagenet photo.jpg --output classes.png --open | "
    "headstart classify --imagenet --backbone efficientnet_v2_b0 --top 1 --format csv photos/",
)
def classify(
    images: shared.Images,
    imagenet: Annotated[
        bool, typer.Option("--imagenet", help="The 1000 classes of ImageNet. Required.")
    ] = False,
    backbone: Annotated[
        str, typer.Option(help="The network (`headstart backbones` lists them).")
    ] = "mobilenet_v2",
    alpha: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 1.0,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_LARGEST_SIDE,
            help="Pixels. Default: the size that the network was trained on.",
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="`imagenet`, or an .h5 file with weights of the whole network.")
    ] = "imagenet",
    output_format: shared.OutputFormat = None,
    top: shared.Top = 5,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="PNG file for a grid of the images with classes."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Draw the grid and open it in the browser.")
    ] = False,
    accept: shared.Accept = shared.ACCEPTED,
    max_pixels: shared.MaxPixels = shared.MAX_PIXELS,
    max_image_bytes: shared.MaxImageBytes = shared.MAX_IMAGE_BYTES,
) -> None:
    """Classify images with a network trained on ImageNet.

    The network is one of keras.applications with its own classifier of 1000 classes: no run is
    needed, and weights and names are downloaded once. `predict` is for the classes of your own
    trained model. IMAGE, rows and exit codes are those of `predict`.
    """
    if not imagenet:
        raise ParameterError(_WHICH)
    from headstart.serving.models import choose, load_imagenet
    from headstart.serving.results import answer, spoken

    limits = shared.limits_of(accept, shared.MIN_SIDE, max_pixels, max_image_bytes)
    choice = choose(backbone, alpha, image_size, weights)
    reading = shared.Reading(images, limits)
    target = output or (_DEFAULT_GRID if show else None)
    if target is not None:
        _check_target(target, reading.inputs)
    reading.require_one()  # A misspelled path must not cost a download.
    from headstart.report.grids import Cell, guess_caption, reduced

    network = load_imagenet(choice)
    write = shared.print_rows(output_format, reading.inputs, network.classes, top, synsets=True)
    cells: list[Cell] = []
    bar, keep = not sys.stdout.isatty(), target is not None
    for outcome, row in reading.through(network, "Classifying", bar=bar, keep=keep):
        found = answer(row, network.classes, top, synsets=network.synsets)
        write(outcome.input, found)
        if keep and len(cells) < _DRAWN:
            label, file = spoken(found.guesses[0].label), Path(outcome.input.name).name
            caption = guess_caption(label, found.probability, file)
            cells.append(Cell(caption, reduced(outcome.content)))
    drawn = [_draw(cells, reading.read, target)] if target is not None and cells else []
    try:
        reading.end(*drawn)
    finally:
        if target is not None and drawn and show:
            browse(target)


def _check_target(target: Path, inputs: Sequence[Input]) -> None:
    """Refuse a grid that is not a PNG file, or that would overwrite one of the images."""
    from headstart.serving.inputs import exists

    if target.suffix.lower() != ".png":
        raise ParameterError(f"`--output` must end in .png. Got {str(target)!r} instead.")
    if target.is_dir():
        raise ParameterError(f"`--output` must be a file. {target} is a folder.")
    if not target.exists():
        return
    for one in inputs:
        if not one.remote and exists(one) and target.samefile(one.place):
            raise ParameterError(
                f"`--output` {target} is one of the images to classify, and would be overwritten. "
                "Nothing was read. Name another file."
            )


def _draw(cells: Sequence[Cell], read: int, target: Path) -> str:
    """Write the grid, and return a sentence about it."""
    from headstart.report.grids import draw_grid

    try:
        draw_grid(cells, _COLUMNS, target)
    except OSError as error:
        raise HeadstartError(
            f"The grid could not be written to {target}: {error.strerror or error}. The classes "
            "are printed above. Name another file."
        ) from error
    of = f" (the first {len(cells)} of {read:,})" if read > len(cells) else ""
    return f"Written: {target}{of}."

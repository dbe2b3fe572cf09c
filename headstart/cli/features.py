"""`headstart features`: extract features of images with an exported model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli import images as shared
from headstart.cli.front import command
from headstart.export.formats import LayeredFormat


@command(
    epilog="Examples: headstart features holiday/ -o holiday.npy | "
    "headstart features 'in/**/*.jpg' --layer out_relu -o maps.npy",
)
def features(
    images: shared.Images,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npy file to write.")] = Path(
        "features.npy"
    ),
    layer: Annotated[
        str | None,
        typer.Option(help="An earlier layer (`headstart show model --layers`), not pooled."),
    ] = None,
    model: shared.ModelFolder = shared.EXPORT,
    export_format: Annotated[
        LayeredFormat | None,
        typer.Option(help="The export format to use. Default: the first of these that exists."),
    ] = None,
    accept: shared.Accept = shared.ACCEPTED,
    min_side: shared.MinSide = shared.MIN_SIDE,
    max_pixels: shared.MaxPixels = shared.MAX_PIXELS,
    max_image_bytes: shared.MaxImageBytes = shared.MAX_IMAGE_BYTES,
) -> None:
    """Extract features of images with an exported model.

    Features are the input of the model's head, and need the export format keras or h5. OUTPUT.npy
    gets one row per readable image, and OUTPUT.csv beside it names the rows. IMAGE and exit codes
    are those of `predict`.
    """
    if output.suffix != ".npy":
        raise ParameterError(f"`--output` must end in .npy. Got {str(output)!r} instead.")
    from headstart._utils.disk import require_room
    from headstart.serving.models import load_features
    from headstart.serving.results import check_place, feature_file, names_beside

    limits = shared.limits_of(accept, min_side, max_pixels, max_image_bytes)
    reading = shared.Reading(images, limits)
    check_place(output)
    extractor = load_features(model, export_format, layer)
    size = 4 * len(reading.inputs) * math.prod(extractor.shape)
    require_room({output.parent: size}, "The features", "Name an --output on another disk.")
    try:
        with feature_file(output, extractor.shape) as add:
            for outcome, row in reading.through(extractor, "Extracting", bar=True):
                add(outcome.input.name, row)
            if not reading.read:
                reading.end()  # Leaves no file.
    except OSError as error:
        raise HeadstartError(
            f"The features could not be written to {output}: {error.strerror or error}. No file "
            "was created. Name another --output, or solve that."
        ) from error
    typer.echo(
        f"Written: {output}, float32 of shape {(reading.read, *extractor.shape)}; "
        f"{names_beside(output)} names the rows."
    )
    reading.end()

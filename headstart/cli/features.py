"""`headstart features`: what an exported model's base says of images, as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import command
from headstart.cli.images import (
    EXPORT,
    FORMATS,
    MAX_IMAGE_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Accept,
    MaxImageBytes,
    MaxPixels,
    MinSide,
    Model,
)
from headstart.cli.reading import Reading, listed


@command(
    says="Write the features of images by an exported model, of the form keras or h5: what its "
    "head reads, a row an image that could be read. Beside OUTPUT.npy, OUTPUT.csv names the rows. "
    "IMAGE and exit codes are those of `predict`.",
    epilog="Examples: headstart features holiday/ -o holiday.npy | "
    "headstart features 'in/**/*.jpg' --layer out_relu -o maps.npy",
)
def features(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, URLs, -.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npy file to write.")] = Path(
        "features.npy"
    ),
    layer: Annotated[
        str | None,
        typer.Option(help="An earlier layer (`headstart show model --layers`), not pooled."),
    ] = None,
    model: Model = EXPORT,
    form: Annotated[
        Literal["keras", "h5"] | None,
        typer.Option(help="Which file; default: the first of these that was exported."),
    ] = None,
    accept: Accept = FORMATS,
    min_side: MinSide = MIN_SIDE,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_image_bytes: MaxImageBytes = MAX_IMAGE_BYTES,
) -> None:
    """Write a row for each image that could be read."""
    if output.suffix != ".npy":
        raise ParameterError(f"`--output` must end in .npy. Got {str(output)!r} instead.")
    from headstart._utils.disk import require_room
    from headstart.images.decode import Limits
    from headstart.serving.models import load_features
    from headstart.serving.prediction import predict as outcomes
    from headstart.serving.results import check_place, feature_file, names_beside

    limits = Limits(tuple(accept), min_side, max_pixels, max_image_bytes)
    listing = listed(images)
    check_place(output)
    extractor = load_features(model, form, layer)
    size = 4 * len(listing.inputs)
    for side in extractor.shape:
        size *= side
    require_room({output.parent: size}, "The features", "Name an --output on another disk.")
    reading = Reading(listing)
    try:
        with feature_file(output, extractor.shape) as add:
            found = outcomes(extractor, listing.inputs, limits)
            for outcome, row in reading.of(found, "Extracting", bar=True):
                add(outcome.input.name, row)
            if not reading.read:
                reading.end()  # Leaves no file.
    except OSError as error:
        raise HeadstartError(
            f"The features could not be written to {output}: {error.strerror or error}. There is "
            "no new array. Name another --output, or mend that."
        ) from error
    typer.echo(
        f"Written: {output}, float32 of shape {(reading.read, *extractor.shape)}; "
        f"{names_beside(output)} names the rows."
    )
    reading.end()

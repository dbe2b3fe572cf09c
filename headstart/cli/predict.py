"""`headstart predict`: classify images with an exported model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli import images as shared
from headstart.cli.front import command


@command(
    epilog="Examples: headstart predict photo.jpg holiday/ --top 3 | "
    "headstart predict inbox/ --threshold 0.8 --out-folder sorted | "
    "find . -name '*.jpg' | headstart predict - --format csv > classes.csv",
)
def predict(
    images: shared.Images,
    model: shared.ModelFolder = shared.EXPORT,
    export_format: shared.ExportFormat = None,
    output: shared.OutputFormat = None,
    top: shared.Top = 1,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Below this probability, the class is `unsure`.")
    ] = 0.0,
    out_folder: Annotated[
        Path | None, typer.Option(help="Copy each image into a folder per class below this one.")
    ] = None,
    capitals: shared.Capitals = False,
    accept: shared.Accept = shared.ACCEPTED,
    min_side: shared.MinSide = shared.MIN_SIDE,
    max_pixels: shared.MaxPixels = shared.MAX_PIXELS,
    max_image_bytes: shared.MaxImageBytes = shared.MAX_IMAGE_BYTES,
) -> None:
    """Classify images with an exported model.

    IMAGE is a file, a folder (with everything below it), a quoted pattern, or an http(s) address;
    `-` reads such words from standard input, one per line. The command prints one row per readable
    image, in the given order, and names the others on standard error. Exit code: 0 all were read, 3
    some were not, 1 none was or an error occurred, 2 wrong options.
    """
    from headstart.serving.models import load_classifier
    from headstart.serving.results import answer
    from headstart.serving.sorting import Sorter

    limits = shared.limits_of(accept, min_side, max_pixels, max_image_bytes)
    reading = shared.Reading(images, limits)
    classifier = load_classifier(model, export_format)
    names = shared.shown_names(classifier.classes, capitals=capitals)
    sorter = Sorter(out_folder, classifier.classes) if out_folder else None
    write = shared.print_rows(output, reading.inputs, names, top)
    bar = not sys.stdout.isatty()
    for outcome, row in reading.through(
        classifier, "Classifying", bar=bar, keep=sorter is not None
    ):
        if sorter is not None:
            own = answer(row, classifier.classes, top, threshold)
            sorter.add(outcome.input, own, outcome.content)
        write(outcome.input, answer(row, names, top, threshold))
    reading.end(*([sorter.report()] if sorter else []))

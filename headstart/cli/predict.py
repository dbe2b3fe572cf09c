"""`headstart predict`: what an exported model says of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart.cli.front import command
from headstart.cli.images import (
    EXPORT,
    FORMATS,
    MAX_IMAGE_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Accept,
    FormOption,
    MaxImageBytes,
    MaxPixels,
    MinSide,
    Model,
)
from headstart.cli.labels import Capitals, shown_names
from headstart.cli.reading import Reading, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headstart.serving.inputs import Listing
    from headstart.serving.models import Classifier, Floats
    from headstart.serving.prediction import Outcome
    from headstart.serving.results import Format


@command(
    says="Classify images by an exported model: files, folders (with all that is below), quoted "
    "patterns, http(s) addresses; `-` reads such words from standard input, one a line. One row a "
    "image that could be read, in the order given; the others are named on standard error. Exit "
    "code: 0 all were read, 3 some were not, 1 none was or something failed, 2 wrong options.",
    epilog="Examples: headstart predict photo.jpg holiday/ --top 3 | "
    "headstart predict inbox/ --threshold 0.8 --out-folder sorted | "
    "find . -name '*.jpg' | headstart predict - --format csv > classes.csv",
)
def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, URLs, -.")
    ],
    model: Model = EXPORT,
    form: FormOption = None,
    output: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option("--format", help="Default: table at a terminal, else jsonl."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes that are told, the likeliest.")] = 1,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="Below this probability there is no class: `unsure`."),
    ] = 0.0,
    out_folder: Annotated[
        Path | None, typer.Option(help="Copy each image into a folder here, named by its class.")
    ] = None,
    capitals: Capitals = False,
    accept: Accept = FORMATS,
    min_side: MinSide = MIN_SIDE,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_image_bytes: MaxImageBytes = MAX_IMAGE_BYTES,
) -> None:
    """Print a row for each image that could be read."""
    from headstart.images.decode import Limits
    from headstart.serving.models import load_classifier
    from headstart.serving.prediction import predict as outcomes

    limits = Limits(tuple(accept), min_side, max_pixels, max_image_bytes)
    listing = listed(images)
    classifier = load_classifier(model, form)
    terminal = sys.stdout.isatty()
    chosen = output or ("table" if terminal else "jsonl")
    names = shown_names(classifier.classes, capitals=capitals)
    told = _Told(classifier, names, listing, chosen, top, threshold, out_folder)
    found = outcomes(classifier, listing.inputs, limits, keep=out_folder is not None)
    reading = Reading(listing)
    # Rows at a terminal are progress enough, and a bar would be drawn into them.
    for outcome, probabilities in reading.of(found, "Classifying", bar=not terminal):
        told.one(outcome, probabilities)
    reading.end(*told.copies())


class _Told:
    """Rows on standard output."""

    def __init__(
        self,
        classifier: Classifier,
        names: Sequence[str],
        listing: Listing,
        output: Format,
        top: int,
        threshold: float,
        out_folder: Path | None,
    ) -> None:
        from headstart.serving.results import writer
        from headstart.serving.sorting import Sorter

        self.classes, self.names = classifier.classes, names
        self.top, self.threshold = top, threshold
        self.sorter = Sorter(out_folder, classifier.classes) if out_folder else None
        head, self.write = writer(output, listing.inputs, names, top)
        if head and listing.inputs:
            typer.echo(head)

    def one(self, outcome: Outcome, probabilities: Floats) -> None:
        """Tell one input that could be read."""
        from headstart.serving.results import answer

        if self.sorter is not None:
            own = answer(probabilities, self.classes, self.top, self.threshold)
            self.sorter.add(outcome.input, own, outcome.content)
        said = answer(probabilities, self.names, self.top, self.threshold)
        typer.echo(self.write(outcome.input, said))

    def copies(self) -> list[str]:
        """A sentence about what was copied, if anything was to be."""
        if self.sorter is None:
            return []
        there = f"; there already: {self.sorter.there:,}" if self.sorter.there else ""
        return [f"Copied to {self.sorter.folder}: {self.sorter.copied:,}{there}."]

"""`headstart predict`: what an exported model says of pictures."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.front import command
from commands.pictures import (
    EXPORT,
    FORMATS,
    MAX_PICTURE_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Accept,
    FormOption,
    MaxPictureBytes,
    MaxPixels,
    MinSide,
    Model,
)

if TYPE_CHECKING:
    from serving.classifier import Classifier
    from serving.inputs import Listing
    from serving.prediction import Outcome
    from serving.rows import Format
    from stages.imaging.decode import Limits

#: Exit codes besides those of errors.
SOME_UNREADABLE = 3
NONE_READ = 1
_NAMED = 200  # unreadable files that are named one by one


@command(
    says="Classify pictures by an exported model: files, folders (with all that is below), quoted "
    "patterns, http(s) addresses; `-` reads such words from standard input, one a line. One row a "
    "picture that could be read, in the order given; the others are named on standard error. Exit "
    "code: 0 all were read, 3 some were not, 1 none was or something failed, 2 wrong options.",
    epilog="Examples: headstart predict photo.jpg holiday/ --top 3 | "
    "headstart predict inbox/ --threshold 0.8 --out-folder sorted | "
    "find . -name '*.jpg' | headstart predict - --format csv > classes.csv",
)
def predict(
    pictures: Annotated[
        list[str], typer.Argument(metavar="PICTURE...", help="Files, folders, patterns, URLs, -.")
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
        Path | None, typer.Option(help="Copy each picture into a folder here, named by its class.")
    ] = None,
    accept: Accept = FORMATS,
    min_side: MinSide = MIN_SIDE,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_picture_bytes: MaxPictureBytes = MAX_PICTURE_BYTES,
) -> None:
    """Print a row for each picture that could be read."""
    from serving.classifier import load
    from serving.inputs import expand
    from stages.imaging.decode import Limits

    limits = Limits(tuple(accept), min_side, max_pixels, max_picture_bytes)
    # Bytes, because names of files need not be UTF-8.
    lines = (os.fsdecode(line) for line in sys.stdin.buffer) if "-" in pictures else ()
    listing = expand(pictures, lines)
    classifier = load(model, form)
    chosen = output or ("table" if sys.stdout.isatty() else "jsonl")
    told = _Told(classifier, listing, chosen, top, threshold, out_folder)
    told.all(limits)
    told.summary()
    if told.read < len(listing.inputs) or not listing.inputs:
        raise typer.Exit(SOME_UNREADABLE if told.read else NONE_READ)


class _Told:
    """Rows on standard output, everything else on standard error."""

    def __init__(
        self,
        classifier: Classifier,
        listing: Listing,
        output: Format,
        top: int,
        threshold: float,
        out_folder: Path | None,
    ) -> None:
        from serving.rows import writer
        from serving.sorting import Sorter

        self.classifier, self.listing = classifier, listing
        self.top, self.threshold = top, threshold
        self.sorter = Sorter(out_folder, classifier.classes) if out_folder else None
        self.head, self.write = writer(output, listing.inputs, classifier.classes, top)
        self.read = self.refused = 0

    def all(self, limits: Limits) -> None:
        """Classify and tell every input."""
        from serving.prediction import predict as outcomes
        from stages.core.progress import progress

        inputs = self.listing.inputs
        # Rows at a terminal are progress enough, and a bar would be drawn into them.
        quiet = sys.stdout.isatty()
        bar = contextlib.nullcontext() if quiet else progress(len(inputs), "Classifying", "picture")
        if self.head and inputs:
            typer.echo(self.head)
        with bar as shown:
            for outcome in outcomes(self.classifier, inputs, limits, keep=self.sorter is not None):
                self.one(outcome)
                if shown is not None:
                    shown.update()

    def one(self, outcome: Outcome) -> None:
        """Tell one input."""
        from serving.answers import answer

        if outcome.fault is not None or outcome.probabilities is None:
            self.refused += 1
            if self.refused <= _NAMED:
                _tell(f"Not read: {outcome.input.name}: {outcome.fault}")
            return
        self.read += 1
        said = answer(outcome.probabilities, self.classifier.classes, self.top, self.threshold)
        if self.sorter is not None:
            self.sorter.add(outcome.input, said, outcome.content)
        typer.echo(self.write(outcome.input, said))

    def summary(self) -> None:
        """Say what was read and what was not, unless all of it was and there is nothing to add."""
        said = []
        if self.refused:
            unnamed = self.refused - _NAMED
            more = f" ({unnamed:,} of them are not named above)" if unnamed > 0 else ""
            said.append(
                f"Read: {self.read:,} of {len(self.listing.inputs):,} pictures; not read: "
                f"{self.refused:,}{more}."
            )
        if self.listing.left_out:
            said.append(
                f"Left out: {self.listing.left_out:,} (hidden, or of the operating system)."
            )
        if self.sorter is not None:
            there = f"; there already: {self.sorter.there:,}" if self.sorter.there else ""
            said.append(f"Copied to {self.sorter.folder}: {self.sorter.copied:,}{there}.")
        if said:
            typer.echo(" ".join(said), err=True)


def _tell(text: str) -> None:
    """A line on standard error, above the bar if there is one."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        typer.echo(text, err=True)

"""Parts that the commands over images share: options, reading with its report, and rows."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart._utils.errors import ImageError
from headstart._utils.tables import counted, listed
from headstart.export.formats import RunnableFormat
from headstart.images import formats

if TYPE_CHECKING:
    from headstart.images.dark import Depth
    from headstart.images.decode import Limits
    from headstart.serving.inputs import Input
    from headstart.serving.models import Floats, Model
    from headstart.serving.prediction import Outcome
    from headstart.serving.results import Answer, Format

    ImageFormat = str
else:  # Typer makes a choice of an enumeration, and the table of formats makes this one.
    ImageFormat = StrEnum("ImageFormat", {name.upper(): name for name in formats.FORMATS})

# Defaults are those of `download` in params.yaml as it is shipped.
EXPORT = Path("data/export")
ACCEPTED = list(formats.ACCEPTED)
MIN_SIDE = 8
_NAMED_UNFIT = 5
MAX_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 50_000_000

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, URLs, or - for stdin."),
]
ModelFolder = Annotated[Path, typer.Option("--model", help="The export folder.")]
ExportFormat = Annotated[
    RunnableFormat | None,
    typer.Option(help="The export format to run. Default: the first of these that exists."),
]
OutputFormat = Annotated[
    Literal["table", "jsonl", "csv"] | None,
    typer.Option("--format", help="Format of the rows. Default: table at a terminal, else jsonl."),
]
Top = Annotated[int, typer.Option(min=1, help="Number of most likely classes to show.")]
Capitals = Annotated[
    bool,
    typer.Option(
        "--capitals",
        help="Show class names with capitals, granny_smith as Granny Smith. Files and folders "
        "keep the names.",
    ),
]
Accept = Annotated[list[ImageFormat], typer.Option(help="Accepted image format; repeatable.")]
MinSide = Annotated[int, typer.Option(min=1, help="Minimum pixels of the shorter side.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        min=1, max=formats.MOST_PIXELS, help="Maximum pixels (width × height) of an image."
    ),
]
MaxImageBytes = Annotated[int, typer.Option(min=1, help="Maximum bytes of an image file.")]

SOME_UNREADABLE, NONE_READ = 3, 1  # exit codes
_NAMED = 200  # unreadable files that are named one by one


def limits_of(
    accept: Sequence[str], min_side: int, max_pixels: int, max_image_bytes: int
) -> Limits:
    """Return the limits that the four options set."""
    from headstart.images.decode import Limits

    return Limits(tuple(accept), min_side, max_pixels, max_image_bytes)


def shown_names(names: Sequence[str], *, capitals: bool) -> list[str]:
    """Return class names as they are, or with capitals, in the same order."""
    from headstart.training.labels import with_capitals

    return with_capitals(names) if capitals else list(names)


class Reading:
    """Inputs of a command on their way through a model, with a report of the unreadable ones.

    Parameters
    ----------
    words : sequence of str
        The arguments of the command; ``-`` reads standard input.
    limits : Limits

    Attributes
    ----------
    inputs : tuple of Input
    read, unreadable : int
        Inputs so far that could be read, and that could not.
    """

    def __init__(self, words: Sequence[str], limits: Limits) -> None:
        from headstart.serving.inputs import expand

        # Bytes, because names of files need not be UTF-8.
        lines = (os.fsdecode(line) for line in sys.stdin.buffer) if "-" in words else ()
        listing = expand(words, lines)
        self.inputs, self.left_out, self.limits = listing.inputs, listing.left_out, limits
        self.read = self.unreadable = 0
        self._unfit: dict[str, Depth] = {}

    def through(
        self, model: Model, desc: str, *, bar: bool, keep: bool = False
    ) -> Iterator[tuple[Outcome[Input], Floats]]:
        """Yield the inputs that could be read, with the model's output.

        Parameters
        ----------
        model : Model
        desc : str
            Title of the progress bar.
        bar : bool
            Show progress. Rows at a terminal show it themselves.
        keep : bool
            Keep the files' bytes in the outcomes.
        """
        from headstart._utils.progress import progress
        from headstart.serving.prediction import predict

        shown = progress(len(self.inputs), desc, "image") if bar else contextlib.nullcontext()
        with shown as done:
            for outcome in predict(model, self.inputs, self.limits, keep=keep):
                if outcome.output is None:
                    self.reject(outcome.input, outcome.fault)
                else:
                    self.read += 1
                    if outcome.depth is not None:
                        self._unfit[outcome.input.name] = outcome.depth
                    yield outcome, outcome.output
                if done is not None:
                    done.update()

    def require_one(self) -> None:
        """End the command if no input can exist, before a model is loaded or downloaded.

        Raises
        ------
        typer.Exit
            After each input has been reported.
        """
        from headstart.serving.inputs import exists, read

        if any(map(exists, self.inputs)):
            return
        for one in self.inputs:
            try:
                read(one, self.limits)
            except ImageError as fault:
                self.reject(one, fault)
        self.end()

    def reject(self, one: Input, fault: ImageError | None) -> None:
        """Count an input as unreadable, and name it with the reason."""
        self.unreadable += 1
        if self.unreadable <= _NAMED:
            text = f"Not read: {one.name}: {fault}"
            if sys.stderr.isatty():  # Above the bar, if there is one.
                from tqdm import tqdm

                tqdm.write(text, file=sys.stderr)
            else:
                typer.echo(text, err=True)

    def end(self, *more: str) -> None:
        """Report what was not read, then ``more``; print nothing if there is nothing to report.

        Raises
        ------
        typer.Exit
            If some inputs, or all of them, could not be read.
        """
        sentences = []
        if self.unreadable:
            unnamed = self.unreadable - _NAMED
            rest = f" ({unnamed:,} of them are not named above)" if unnamed > 0 else ""
            sentences.append(
                f"Read: {self.read:,} of {counted(len(self.inputs), 'image')}; not read: "
                f"{self.unreadable:,}{rest}."
            )
        if self.left_out:
            files = counted(self.left_out, "file that is", "files that are")
            sentences.append(f"Skipped: {files} hidden or from the operating system.")
        if dark := {name: depth for name, depth in self._unfit.items() if depth.dark}:
            sentences.append(_nearly_black(dark))
        if cut := {name: depth for name, depth in self._unfit.items() if depth.cut}:
            sentences.append(_cut(cut))
        sentences += more
        if sentences:
            typer.echo(" ".join(sentences), err=True)
        if self.read < len(self.inputs) or not self.inputs:
            raise typer.Exit(SOME_UNREADABLE if self.read else NONE_READ)


def _nearly_black(images: Mapping[str, Depth]) -> str:
    """Return the warning about dark 16-bit images by their names."""
    white = max(depth.white for depth in images.values())
    return (
        f"Warning: {_use(images)} of {white} bits at most, and the network gets the upper 8: "
        "nearly black. If the model was trained on stretched images, stretch these in the same "
        "way; if not, train it with `backbone.gray16_bits` (docs/your-images.md, "
        f'"Images of 12 bits in 16"): {listed(list(images), most=_NAMED_UNFIT)}.'
    )


def _cut(images: Mapping[str, Depth]) -> str:
    """Return the warning about 16-bit images whose bright values are cut, by their names."""
    white = max(depth.white for depth in images.values())
    return (
        f"Warning: {_use(images)} bits, and the model was trained with `backbone.gray16_bits: "
        f"{white}`: values above {(1 << white) - 1:,} are white. Give it images of the bits "
        f"that it was trained on: {listed(list(images), most=_NAMED_UNFIT)}."
    )


def _use(images: Mapping[str, Depth]) -> str:
    several = counted(len(images), "image uses", "images use")
    return f"{several} {max(depth.bits for depth in images.values())}"


def print_rows(
    output: Format | None,
    inputs: Sequence[Input],
    classes: Sequence[str],
    top: int,
    *,
    synsets: bool = False,
) -> Callable[[Input, Answer], None]:
    """Print the first line, and return a function that prints the rows of an answer.

    See :func:`headstart.serving.results.writer`.
    """
    from headstart.serving.results import writer

    default: Format = "table" if sys.stdout.isatty() else "jsonl"
    head, write = writer(output or default, inputs, classes, top, synsets=synsets)
    if head and inputs:
        typer.echo(head)
    return lambda one, found: typer.echo(write(one, found))

"""`headstart classify`: what a network says of images that was trained on ImageNet already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import browse, command
from headstart.cli.images import (
    FORMATS,
    MAX_IMAGE_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Accept,
    MaxImageBytes,
    MaxPixels,
)
from headstart.cli.reading import Reading, listed

if TYPE_CHECKING:
    from headstart.report.grids import Guessed
    from headstart.serving.inputs import Input, Listing
    from headstart.serving.models import Classifier, Floats
    from headstart.serving.prediction import Outcome
    from headstart.serving.results import Format

_DRAWN, _COLUMNS = 100, 5  # images of the grid: with more, nobody looks at any
_LARGEST_SIDE = 1024
_DEFAULT_GRID = Path("data/show/classify.png")


@command(
    says="Name what is on images by a network that is trained already: one of keras.applications "
    "with its classifier of ImageNet's 1000 classes. No run is needed; weights and names are "
    "downloaded once. For the classes of your own trained model there is `predict`. IMAGE, rows "
    "and exit codes are those of `predict`.",
    epilog="Examples: headstart classify --imagenet photo.jpg holiday/ | "
    "headstart classify --imagenet photo.jpg --output classes.png --open | "
    "headstart classify --imagenet --backbone efficientnet_v2_b0 --top 1 --format csv photos/",
)
def classify(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, URLs, -.")
    ],
    imagenet: Annotated[
        bool, typer.Option("--imagenet", help="The 1000 classes of ImageNet. To be given.")
    ] = False,
    backbone: Annotated[
        str, typer.Option(help="The network (`headstart backbones` lists them).")
    ] = "mobilenet_v2",
    alpha: Annotated[float, typer.Option(help="Its width multiplier.")] = 1.0,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1, max=_LARGEST_SIDE, help="Pixels; default: what the network was trained on."
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Keras' own, or an .h5 file of the whole network's weights.")
    ] = "imagenet",
    form: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option("--format", help="Default: table at a terminal, else jsonl."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes that are told, the likeliest.")] = 5,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The PNG file to draw the images in, titled by their classes."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Draw, and open it in the browser.")] = False,
    accept: Accept = FORMATS,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_image_bytes: MaxImageBytes = MAX_IMAGE_BYTES,
) -> None:
    """Print what the network says of each image that could be read."""
    if not imagenet:
        raise ParameterError(_WHICH)
    from headstart.images.decode import Limits
    from headstart.serving.models import choose, load_imagenet
    from headstart.serving.prediction import predict as outcomes
    from headstart.serving.prediction import refusals

    limits = Limits(tuple(accept), MIN_SIDE, max_pixels, max_image_bytes)
    choice = choose(backbone, alpha, image_size, weights)
    listing = listed(images)
    target = output or (_DEFAULT_GRID if show else None)
    if target is not None:
        _check_target(target, listing)
    reading = Reading(listing)
    if not any(map(_there, listing.inputs)):
        # A misspelt path must not cost a download first.
        for _ in reading.of(refusals(listing.inputs, limits), "Reading", bar=False):
            pass
        reading.end()
    classifier = load_imagenet(choice)
    terminal = sys.stdout.isatty()
    told = _Told(classifier, listing, form or ("table" if terminal else "jsonl"), top, target)
    found = outcomes(classifier, listing.inputs, limits, keep=target is not None)
    # Rows at a terminal are progress enough, and a bar would be drawn into them.
    for outcome, probabilities in reading.of(found, "Classifying", bar=not terminal):
        told.one(outcome, probabilities)
    more = told.draw(reading.read)
    try:
        reading.end(*more)
    finally:
        if target is not None and show and more:
            browse(target)


_WHICH = (
    "Which classes? With `--imagenet`, a network that is trained already names the 1000 classes of "
    "ImageNet: `headstart classify --imagenet IMAGE…`. The classes of your own trained model are "
    "told by `headstart predict IMAGE…`. Nothing was read."
)


def _check_target(target: Path, listing: Listing) -> None:
    """Refuse to write what is no PNG file, and over an image that is to be classified."""
    if target.suffix.lower() != ".png":
        raise ParameterError(f"`--output` must end in .png. Got {str(target)!r} instead.")
    if target.is_dir():
        raise ParameterError(f"`--output` must be a file. {target} is a folder.")
    if not target.exists():
        return
    for one in listing.inputs:
        if not one.remote and _there(one) and target.samefile(one.place):
            raise ParameterError(
                f"`--output` {target} is one of the images to be classified, and would be "
                "written over. Nothing was read. Name another file."
            )


def _there(one: Input) -> bool:
    """Whether it may be read, as far as that is known without reading."""
    try:
        return one.remote or (one.refusal is None and Path(one.place).exists())
    except (OSError, ValueError):  # A name that is too long, or holds a zero.
        return False


class _Told:
    """Rows on standard output, and the grid."""

    def __init__(
        self,
        classifier: Classifier,
        listing: Listing,
        form: Format,
        top: int,
        target: Path | None,
    ) -> None:
        from headstart.serving.results import writer

        self.classifier, self.top, self.target = classifier, top, target
        self.cells: list[Guessed] = []
        head, self.write = writer(form, listing.inputs, classifier.classes, top, classifier.names)
        if head and listing.inputs:
            typer.echo(head)

    def one(self, outcome: Outcome, probabilities: Floats) -> None:
        """Tell one input that could be read."""
        from headstart.serving.results import answer

        said = answer(probabilities, self.classifier.classes, self.top)
        typer.echo(self.write(outcome.input, said))
        if self.target is not None and len(self.cells) < _DRAWN:
            from headstart.report.grids import guessed
            from headstart.serving.results import spoken

            name = Path(outcome.input.name).name
            label = spoken(self.classifier.names[said.guesses[0].label])
            self.cells.append(guessed(outcome.content, name, label, said.probability))

    def draw(self, read: int) -> list[str]:
        """Write the grid, if one is wanted and there is anything to draw; say where it is."""
        if self.target is None or not self.cells:
            return []
        from headstart.report.grids import draw_grid

        try:
            draw_grid(self.cells, _COLUMNS, self.target)
        except OSError as error:
            raise HeadstartError(
                f"The images could not be drawn in {self.target}: {error.strerror or error}. "
                "What was said of them stands above. Name another file."
            ) from error
        of = f" (the first {len(self.cells)} of {read:,})" if read > len(self.cells) else ""
        return [f"Written: {self.target}{of}."]

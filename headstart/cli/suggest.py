"""`headstart suggest`: rank unlabeled images by what their labels would teach the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import ParameterError
from headstart._utils.tables import counted
from headstart.cli import images as shared
from headstart.cli import incoming
from headstart.cli.front import command, read_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headstart.images.decode import Limits
    from headstart.incoming.images import NewImages

_SHOWN = 2  # classes: the most likely one, and the one that it is confused with


@command(
    epilog="Examples: headstart suggest inbox/ | headstart suggest inbox/ -n 100 --copy-to "
    "to-label | headstart suggest 'camera/**/*.jpg' --format csv > next.csv",
    needs="project",
)
def suggest(
    images: incoming.Images,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Images to suggest.")] = 50,
    copy_to: Annotated[
        Path | None, typer.Option(help="Copy the suggested images into this folder.")
    ] = None,
    output: shared.OutputFormat = None,
) -> None:
    """Rank unlabeled images: which to label next.

    Ranks images by how unsure the model is, and by how different they are from the training images
    and from those ranked before.
    They go through the run's backbone once, and their features are cached. Images of the data set
    and copies are left out. The rows are those of `predict --top 2`, the most useful image first.
    IMAGE, rejected files and exit codes are as in `predict`; the limits of images are those of
    `download` in params.yaml.
    """
    reading, run = incoming.open_run(images)
    if copy_to is not None:
        _check_target(copy_to, images)
    new = incoming.read_new(reading, run)
    if run.fine_tuned:
        typer.echo(
            "The final model is fine-tuned. The ranking uses the head on the frozen backbone "
            "(data/models/head), whose features are cached.",
            err=True,
        )
    import numpy as np

    from headstart.audit.vectors import whole_numbers
    from headstart.incoming.ranking import rank
    from headstart.serving.results import answer

    probabilities = run.probabilities(new.features)
    training, _ = run.training(read_parameters().seed)
    values = whole_numbers([training, new.features], measured=1)
    labeled, unlabeled = np.split(values, [len(training)])
    chosen = rank(probabilities, unlabeled, labeled, count) if new.inputs else ()
    inputs = [new.inputs[row] for row in chosen]
    write = shared.print_rows(output, inputs, run.classes, _SHOWN)
    for row, one in zip(chosen, inputs, strict=True):
        write(one, answer(probabilities[row], run.classes, _SHOWN))
    copied = [_copies(copy_to, new, chosen, reading.limits)] if copy_to and inputs else []
    suggested = f"Suggested: {len(inputs):,} of {counted(len(new.inputs), 'new image')}."
    reading.end(*incoming.left_out(new), suggested, *copied)


def _check_target(target: Path, words: Sequence[str]) -> None:
    """Refuse to copy into a folder whose images are ranked: its copies would be read next time."""
    for word in words:
        source = Path(word).resolve()
        if source.is_dir() and target.resolve().is_relative_to(source):
            raise ParameterError(
                f"`--copy-to` {target} is in {word}, whose images are ranked. Nothing was read. "
                "Name a folder elsewhere."
            )


def _copies(target: Path, new: NewImages, chosen: Iterable[int], limits: Limits) -> str:
    """Copy images in the order of their rank, and return a sentence about it."""
    from headstart.incoming.images import read_unchanged
    from headstart.serving.sorting import Copier

    copier = Copier(target, "--copy-to")
    for row in chosen:
        one = new.inputs[row]
        copier.copy(one, read_unchanged(one, new.ids[row], limits))
    return copier.report()

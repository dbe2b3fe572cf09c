"""Parts that the commands over new images share: reading them, and the run to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import ParameterError
from headstart._utils.tables import counted
from headstart.cli.front import StageFiles, read_parameters
from headstart.cli.images import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headstart.incoming.images import NewImages
    from headstart.incoming.known import KnownImages

Images = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE...", help="Files, folders, patterns, or - for stdin."),
]


def open_run(words: Sequence[str]) -> tuple[Reading, KnownImages]:
    """Return the listed inputs, and the run in the current folder.

    Raises
    ------
    ParameterError
        For a web address: an image is read several times.
    """
    from headstart.incoming.known import open_known
    from headstart.sources.parameters import limits_of

    files = StageFiles(Path.cwd())
    reading = Reading(words, limits_of(read_parameters().download))
    remote = [one.name for one in reading.inputs if one.remote]
    if remote:
        raise ParameterError(
            f"Expected files and folders of this machine, got the address {remote[0]}. Nothing was "
            "read. Download the images first; `headstart predict` takes addresses."
        )
    folders = (
        *files.existing("fine_tune", "features", "backbone_folder", "head"),
        *files.existing("evaluate", "model"),
    )
    return reading, open_known(*folders)


def read_new(reading: Reading, run: KnownImages) -> NewImages:
    """Return the usable images that are not in the data set, with their features."""
    from headstart.datasets.manifests import read_images
    from headstart.incoming.images import new_images

    (manifest,) = StageFiles(Path.cwd()).existing("download", "manifest")
    known = frozenset(read_images(manifest)["image_id"])
    new = new_images(reading.inputs, run, reading.limits, reading.reject, known)
    reading.read = len(reading.inputs) - reading.unreadable
    return new


def left_out(new: NewImages) -> list[str]:
    """Return sentences about the images that are left out, and the forward passes."""
    sentences = []
    if new.known:
        sentences.append(f"Left out: {counted(new.known, 'image')} of the data set.")
    if new.repeated:
        copies = counted(new.repeated, "copy", "copies")
        sentences.append(f"Left out: {copies} of other images.")
    if new.inputs:
        sentences.append(f"{new.passes}.")
    return sentences

"""Options that `predict` and `serve-model` share: which model, and what is taken as an image."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart.images import formats
from headstart.images.formats import MOST_PIXELS

if TYPE_CHECKING:
    Format = str
else:
    #: The names of `download.formats`.
    Format = StrEnum("Format", {name.upper(): name for name in formats.FORMATS})


Form = Literal["tflite_float32", "saved_model", "tflite_float16", "tflite_int8"]

# Defaults are those of `download` in params.yaml as it is shipped.
EXPORT = Path("data/export")
FORMATS = [Format(name) for name in formats.ACCEPTED]
MIN_SIDE = 8
MAX_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 50_000_000

Model = Annotated[Path, typer.Option(help="The export folder.")]
FormOption = Annotated[
    Form | None, typer.Option(help="What runs; default: the first of these that was exported.")
]
Accept = Annotated[list[Format], typer.Option(help="Accepted formats; once for each.")]
MinSide = Annotated[int, typer.Option(min=1, help="Pixels of the shorter side.")]
MaxPixels = Annotated[
    int, typer.Option(min=1, max=MOST_PIXELS, help="Width × height, told before decoding.")
]
MaxImageBytes = Annotated[int, typer.Option(min=1, help="Larger files are not read.")]

"""Grids of images as PNG files: raw images with class and shape, or with a prediction.

Class names can hold any text: they are drawn literally, shortened, and never read as formulas. The
same images give the same bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_bytes
from headstart._utils.tables import plain
from headstart.images import thumbnails
from headstart.images.decode import INSPECTED

_SIDE = 320  # pixels that a cell of the grid can show
_INCHES, _DPI = 2.2, 150
_LABEL, _LINE = 26, 30  # letters of a class name, and of a line, over one cell


class Cell(NamedTuple):
    """An image of the grid: uint8 pixels of shape (h, w, 3), reduced, below its caption."""

    caption: str
    pixels: npt.NDArray[np.uint8]


def raw_caption(label: str, width: int, height: int) -> str:
    """Return ``label – shape``; the shape is that of the decoded array."""
    return f"{_short(label, _LABEL)} – ({height}, {width}, 3)"


def guess_caption(label: str, probability: float, file: str) -> str:
    """Return the class, and below it the probability and the file."""
    return f"{_short(label, _LINE)}\n{_short(f'{100 * probability:.1f} % – {file}', _LINE)}"


def _short(text: str, longest: int) -> str:
    shown = plain(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def reduced(content: bytes, side: int = _SIDE) -> npt.NDArray[np.uint8]:
    """Return an image's pixels, RGB, upright, in proportion, no side longer than ``side``.

    Raises
    ------
    ImageError
        If the content is not an image.
    """
    return np.asarray(thumbnails.reduced(content, INSPECTED, side))


def draw_grid(images: Sequence[Cell], columns: int, target: Path) -> None:
    """Write the grid, row by row; the remaining cells stay empty.

    Parameters
    ----------
    images : sequence of Cell
        At least one.
    columns : int
    target : Path
        A PNG file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = 1 + max(image.caption.count("\n") for image in images)
    with mpl.rc_context({"text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 8.0}):
        figure = Figure(figsize=(columns * _INCHES, rows * (_INCHES + 0.25 * lines)), dpi=_DPI)
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.set_axis_off()
            if place < len(images):
                small = max(images[place].pixels.shape) <= 64
                method = "nearest" if small else "antialiased"
                axes.imshow(images[place].pixels, interpolation=method)
                axes.set_title(images[place].caption)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            # A script that the font lacks is drawn as boxes; the terminal has the name.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.tight_layout(h_pad=1.08 * lines)
            figure.savefig(stream, format="png", metadata={"Software": None})
    write_bytes(target, stream.getvalue())

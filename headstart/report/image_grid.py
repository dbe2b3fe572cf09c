"""Raw images in a grid, each titled with its class and shape, as a PNG file.

Class names are strangers' text: they are drawn as they stand, shortened, and never read as
formulas. The same images give the same bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_bytes
from headstart._utils.tables import plain
from headstart.images import thumbnails
from headstart.images.decode import INSPECTED

_SIDE = 320  # pixels that a cell of the grid can show
_INCHES, _DPI = 2.2, 150
_LONGEST = 26  # letters of a class name over one cell


@dataclass(frozen=True)
class Raw:
    """An image to be shown.

    Attributes
    ----------
    title : str
        Its class, or its path.
    width, height : int
        Pixels of the image as it came, orientation applied.
    pixels : ndarray of shape (h, w, 3), uint8
        Reduced to what the page can show.
    """

    title: str
    width: int
    height: int
    pixels: npt.NDArray[np.uint8]

    @property
    def caption(self) -> str:
        """``label – shape``; the shape is that of the decoded array."""
        name = plain(self.title)
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        return f"{short} – ({self.height}, {self.width}, 3)"


def reduced(content: bytes, side: int = _SIDE) -> npt.NDArray[np.uint8]:
    """An image's pixels, RGB, upright, its proportions kept, no side longer than ``side``.

    Raises
    ------
    ImageError
        If the content is no image.
    """
    return np.asarray(thumbnails.reduced(content, INSPECTED, side))


def draw_grid(images: Sequence[Raw], columns: int, target: Path) -> None:
    """Write the grid, row by row; cells that are left stay empty.

    Parameters
    ----------
    images : sequence of Raw
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
                image = images[place]
                small = max(image.width, image.height) <= 64
                axes.imshow(image.pixels, interpolation="nearest" if small else "antialiased")
                axes.set_title(image.caption)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            # A script that the font lacks is drawn as boxes; the terminal has the name.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.tight_layout(h_pad=1.08 * lines)
            figure.savefig(stream, format="png", metadata={"Software": None})
    write_bytes(target, stream.getvalue())

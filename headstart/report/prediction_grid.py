"""What a model says of images, as an image: a cell each, titled with the class."""

from __future__ import annotations

from dataclasses import dataclass

from headstart._utils.tables import plain
from headstart.report.image_grid import Raw, reduced

#: Letters of a line over one cell.
_LONGEST = 30


@dataclass(frozen=True)
class Guessed(Raw):
    """An image and its likeliest class; the title is the file's name.

    Attributes
    ----------
    label : str
    probability : float
    """

    label: str
    probability: float

    @property
    def caption(self) -> str:
        """The class, and below it the probability and the file."""
        return f"{_short(self.label)}\n{_short(f'{100 * self.probability:.1f} % – {self.title}')}"


def guessed(content: bytes, file: str, label: str, probability: float) -> Guessed:
    """An image's file with what was said of it.

    Raises
    ------
    ImageError
        If the content is no image.
    """
    pixels = reduced(content)
    height, width, _ = pixels.shape
    return Guessed(file, width, height, pixels, label, probability)


def _short(text: str) -> str:
    shown = plain(text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"

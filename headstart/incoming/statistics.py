"""Simple statistics of images, and which of them differ between two sets of images.

A difference is the standardized sum of ranks (Mann and Whitney 1947). Chance is counted: sides are
drawn again many times, and the largest difference of all statistics in each draw bounds what
chance does anywhere (Westfall and Young 1993), so that many statistics raise no more false alarms
than one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.audit.vectors import Float64

#: Draws of sides. The smallest p is the inverse of this number plus 1.
DRAWS = 399
_DIGITS = 6
#: Classes whose shares are compared, the most frequent ones.
_MOST_CLASSES = 50
_CLASS = "class "


class Words(NamedTuple):
    """A statistic in words: of an image with less of it, and with more."""

    less: str
    more: str


STATISTICS: Mapping[str, Words] = {
    "distance": Words("nearer to the training images", "farther from the training images"),
    "confidence": Words("classified with less confidence", "classified with more confidence"),
    "brightness": Words("darker", "brighter"),
    "contrast": Words("flatter", "richer in contrast"),
    "saturation": Words("paler", "more colorful"),
    "sharpness": Words("blurred", "sharper"),
    "megapixels": Words("smaller", "larger"),
    "aspect": Words("narrower", "wider"),
    "bytes per pixel": Words("more compressed", "less compressed"),
}
Columns = Mapping[str, Float64]


@dataclass(frozen=True)
class Difference:
    """A statistic of new images that is not that of the run's images.

    Attributes
    ----------
    name : str
        Of :data:`STATISTICS`, or ``class NAME`` for the share of a class.
    z : float
        Standardized sum of ranks; positive: the new images have more.
    p : float
        Probability of so large a difference in any statistic, by chance.
    new, known : float
        Medians; or the shares of the class.
    """

    name: str
    z: float
    p: float
    new: float
    known: float

    def sentence(self) -> str:
        """Return the difference in words."""
        if self.name.startswith(_CLASS):
            return (
                f"{self.name.removeprefix(_CLASS)}: {100 * self.new:.0f} % of the new images, "
                f"{100 * self.known:.0f} % of the run's"
            )
        words = STATISTICS[self.name]
        return (
            f"{words.more if self.z > 0 else words.less} ({self.name} {self.new:.3g}, "
            f"of the run {self.known:.3g})"
        )


def compare_statistics(known: Columns, new: Columns, seed: int) -> list[Difference]:
    """Compare two sets of images by each statistic, the largest difference first.

    Parameters
    ----------
    known, new : mapping of str to ndarray of shape (n,), float64
        The same statistics of both.
    seed : int
    """
    names = list(known)
    first, second = (
        np.round(np.stack([c[n] for n in names], axis=1), _DIGITS) for c in (known, new)
    )
    ranks = _ranks(np.concatenate([first, second]))
    random = np.random.Generator(np.random.Philox(key=derive(seed, "incoming", "statistics")))
    side = np.repeat([0.0, 1.0], [len(first), len(second)])
    sides = np.stack([side, *(random.permutation(side) for _ in range(DRAWS))])
    z = _standardized(sides, ranks)
    largest = np.abs(z).max(axis=1)
    differences = []
    for place, name in enumerate(names):
        p = float((largest >= abs(z[0, place])).sum()) / (1 + DRAWS)
        middle = np.mean if name.startswith(_CLASS) else np.median
        values = (float(middle(part[:, place])) for part in (second, first))
        differences.append(Difference(name, float(z[0, place]), p, *values))
    return sorted(differences, key=lambda each: -abs(each.z))


def _ranks(values: Float64) -> Float64:
    """Return the ranks in each column, doubled so that they are whole, and less their mean."""
    found = np.empty_like(values)
    for column in range(values.shape[1]):
        _, place, counts = np.unique(values[:, column], return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        found[:, column] = (2 * below + counts)[place] - len(values)
    return found


def _standardized(sides: Float64, ranks: Float64) -> Float64:
    """Return sums of ranks over their standard deviation by chance, of shape (draws, columns)."""
    total, new = ranks.shape[0], sides[0].sum()
    spread = np.sqrt(np.square(ranks).sum(axis=0) * new * (total - new) / (total * (total - 1)))
    # A statistic that is the same for all images differs nowhere.
    return np.asarray(np.round(sides @ ranks / np.where(spread > 0, spread, np.inf), _DIGITS))


def class_columns(
    known: npt.NDArray[np.int64], new: npt.NDArray[np.int64], classes: Sequence[str]
) -> tuple[dict[str, Float64], dict[str, Float64]]:
    """Return for each frequent class whether an image is taken for it, 0 or 1."""
    counts = np.bincount(np.concatenate([known, new]), minlength=len(classes))
    frequent = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CLASSES])
    of = ({f"{_CLASS}{classes[k]}": (part == k).astype(np.float64) for k in frequent}
          for part in (known, new))  # fmt: skip
    first, second = of
    return first, second


def pixel_statistics(pixels: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Return brightness, contrast, saturation and sharpness of an image, from 0 to about 1.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        Of one size for all images that are compared.
    """
    colors = pixels.astype(np.float64) / 255
    gray = colors.mean(axis=2)
    edges = (
        4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    )
    contrast = float(gray.std())
    return {
        "brightness": float(gray.mean()),
        "contrast": contrast,
        "saturation": float((colors.max(axis=2) - colors.min(axis=2)).mean()),
        # Relative to the contrast, so that a flat image is not a blurred one.
        "sharpness": float(np.abs(edges).mean() / (contrast + 0.01)),
    }

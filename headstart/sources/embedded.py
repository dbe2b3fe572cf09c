"""1,797 handwritten digits of scikit-learn: nothing to download, ten classes.

The images are 8 × 8 grays of 17 levels (E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998, its test part). They are written as PNG
files without compression, so that their bytes do not depend on the version of an encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import ImageError
from headstart.images.png import canonical_png
from headstart.sources.source import Entry

_LEVELS = 16  # a pixel counts the dark ones of a 4 × 4 block: 0 to 16


class EmbeddedSource:
    """The digits as ``digits/<digit>/<number in the data set>.png``, sorted by path."""

    origin = "The embedded digits"
    summary = ""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # 1 s that other sources do not need

        digits = load_digits()
        self._files = {
            f"digits/{label}/{number:04}.png": canonical_png(to_gray(image))
            for number, (label, image) in enumerate(zip(digits.target, digits.images, strict=True))
        }
        self.entries = [Entry(path, len(self._files[path])) for path in sorted(self._files)]

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted path."""
        for entry in self.entries:
            if entry.path in wanted:
                yield entry.path, self._files[entry.path]


def to_gray(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return levels 0 to 16 as grays 0 to 255, rounded half up."""
    exact = levels.astype(np.int64)
    return ((exact * 255 + _LEVELS // 2) // _LEVELS).astype(np.uint8)

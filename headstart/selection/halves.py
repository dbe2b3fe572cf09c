"""Which validation images guide a search, and which are left to tell how good its choice is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive


def guiding(images: int, seed: int) -> npt.NDArray[np.bool_]:
    """Return the half of so many validation images that guides a search; the seed draws it.

    Of a single image, it is this one.
    """
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "sweep", "guides")))
    found = np.zeros(images, np.bool_)
    found[generator.permutation(images)[: max(1, images // 2)]] = True
    return found

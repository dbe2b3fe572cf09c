"""Augmented views of the training images, cached once beside the plain images.

A head that is trained on new views in every epoch needs one pass per image and epoch. A fixed
number of views, drawn once by seed, needs that many passes per image, once: they are features like
any others. The views of one setting of ``extract_features.augment`` lie in one store. The number of
a view is part of its key there, so that one more view costs one pass per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.store import view_key
from headstart.images.augmentation import SPEC, augment, first_alike
from headstart.images.augmentation_parameters import AugmentParams

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RecordedViews:
    """The views 1 to ``count`` of any image.

    Attributes
    ----------
    count : int
        Views of each image, without the image itself.
    params : AugmentParams
        The allowed changes.
    seed : int
        Of the changes.
    """

    count: int
    params: AugmentParams
    seed: int

    @classmethod
    def of(cls, params: ExtractFeaturesParams, seed: int) -> Self:
        """Return the views that the section asks for, by the seed of params.yaml."""
        return cls(params.views, params.augment, derive(seed, "extract_features"))

    def plain(self) -> dict[str, Any]:
        """Return the attributes as JSON values, of which :meth:`of_plain` makes the same views."""
        return {"count": self.count, "params": self.params.model_dump(), "seed": self.seed}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the views of what :meth:`plain` returned."""
        return cls(plain["count"], AugmentParams(**plain["params"]), plain["seed"])

    def record(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything but image and view number that decides the bits of a view's features.

        Parameters
        ----------
        plain : mapping
            The record of plain images:
            :func:`headstart.features.extraction.fingerprint_record`.
        """
        return {
            **plain,
            "view": "seeded",
            "view_seed": self.seed,
            "augment": self.params.model_dump(),
            "augment_spec": SPEC,
        }

    def alike(self, image_id: str, view: int) -> int:
        """Return the number of the first view with the same pixels; 0 is the image itself.

        With flips alone there are few different ones, and none of them passes twice.
        """
        return first_alike(self.params, self.seed, image_id, view)

    def keys(self, image_id: str) -> list[str]:
        """Return the keys of the different views of an image in the store of views."""
        numbers = (self.alike(image_id, view) for view in range(1, self.count + 1))
        return [view_key(image_id, number) for number in dict.fromkeys(numbers) if number]

    def pixels(self, image: Pixels, image_id: str, view: int) -> Pixels:
        """Return a view of a decoded image, of the same shape."""
        return augment(image, self.params, self.seed, image_id, view)

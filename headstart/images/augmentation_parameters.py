"""The key ``augment`` of two sections: random changes of a training image."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headstart.stage.sections import Probability, Section


class AugmentParams(Section):
    """Random changes of a training image; none if all are zero and false.

    Degrees for ``rotation`` and ``shear``; shares of the side for the shifts; a factor of
    1 ± value for ``zoom``, ``brightness`` and ``contrast``. Uncovered pixels repeat the edge.
    """

    rotation: Annotated[float, Field(ge=0, le=180)]
    width_shift: Probability
    height_shift: Probability
    shear: Annotated[float, Field(ge=0, le=60)]
    zoom: Probability
    horizontal_flip: bool
    vertical_flip: bool
    brightness: Probability
    contrast: Probability

    @property
    def active(self) -> bool:
        """True if there is any change."""
        return any(self.model_dump().values())

    @property
    def flips_alone(self) -> bool:
        """True if flips are the only changes, so that there are only a few different views."""
        changes = self.model_dump(exclude={"horizontal_flip", "vertical_flip"})
        return not any(changes.values())

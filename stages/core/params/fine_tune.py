"""``fine_tune``: training the top of the base together with the head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.errors import UnfitError
from stages.core.params.base import (
    Count,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
)
from stages.core.params.train_head import Optimizer


class AugmentParams(Section):
    """Random changes of a training picture; all zero and false means none.

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
        """Whether any change is asked for."""
        return any(self.model_dump().values())


class FineTuneParams(Section):
    """What is unfrozen and how it is trained; ``epochs: 0`` passes the head's model through."""

    epochs: Count
    unfreeze_by: Literal["layer", "index", "count", "block"]
    unfreeze: str | int
    batch_norm: Literal["inference", "train"]
    optimizer: Optimizer
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    batch_size: PositiveInt
    early_stopping_patience: PositiveInt | None
    augment: AugmentParams

    @field_validator("unfreeze")
    @classmethod
    def _is_what_unfreeze_by_counts(cls, unfreeze: str | int, info: ValidationInfo) -> str | int:
        by = info.data.get("unfreeze_by")
        if by == "layer" and not (isinstance(unfreeze, str) and unfreeze):
            raise UnfitError("the name of a layer with `unfreeze_by: layer`")
        if by in {"index", "count", "block"}:
            least = 0 if by == "index" else 1
            if isinstance(unfreeze, str) or unfreeze < least:
                raise UnfitError(f"an integer ≥ {least} with `unfreeze_by: {by}`")
        return unfreeze

"""``fine_tune``: training the top of the base together with the head."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from stages.core.errors import UnfitError
from stages.core.params.augment import AugmentParams
from stages.core.params.base import Count, NonNegativeFloat, PositiveFloat, PositiveInt, Section
from stages.core.params.train_head import Optimizer


class FineTuneParams(Section):
    """What is unfrozen and how it is trained; ``epochs: 0`` passes the head's model through."""

    epochs: Count
    unfreeze_by: Literal["layer", "index", "count", "block", "only"]
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
        if by == "only" and (unfreeze == "" or (isinstance(unfreeze, int) and unfreeze < 0)):
            raise UnfitError("the name of a layer or an integer ≥ 0 with `unfreeze_by: only`")
        if by in {"index", "count", "block"}:
            least = 0 if by == "index" else 1
            if isinstance(unfreeze, str) or unfreeze < least:
                raise UnfitError(f"an integer ≥ {least} with `unfreeze_by: {by}`")
        return unfreeze

"""The sections ``split`` and ``sample``: the shares of the splits, and the images in use."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart.stage.sections import PositiveInt, Section, Share


class SplitParams(Section):
    """Shares of the splits, and the treatment of predefined splits and near duplicates."""

    validation: Share
    test: Share
    predefined: Literal["keep", "ignore"]
    duplicates: Literal["together", "train", "ignore"]

    @field_validator("test")
    @classmethod
    def _leaves_training_images(cls, test: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation", 0)
        if validation + test >= 1:
            raise UnfitError(
                f"< {1 - validation:g} with `validation: {validation:g}`",
                "Their sum must be below 1, or nothing is left to train on.",
            )
        return test


class SampleParams(Section):
    """Images per class; null means all of them. Nothing is copied if both are null."""

    train_per_class: PositiveInt | None
    validation_per_class: PositiveInt | None

"""``split``: shares of the validation and test parts."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from stages.core.params.base import Section, Share


class SplitParams(Section):
    """How the pictures are divided."""

    validation: Share
    test: Share
    given: Literal["keep", "ignore"]

    @model_validator(mode="after")
    def _leaves_training_pictures(self) -> SplitParams:
        if self.validation + self.test >= 1:
            raise ValueError(
                "`validation` + `test` must be below 1, or nothing is left to train on"
            )
        return self

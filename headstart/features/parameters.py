"""The section ``extract_features``: running the frozen backbone over the images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart.images.augmentation_parameters import AugmentParams
from headstart.stage.sections import Section


class ExtractFeaturesParams(Section):
    """Engine and number format of the recorded features, and the cached augmented views."""

    engine: Literal["litert", "keras"]
    dtype: Literal["float32", "float16"]
    views: Annotated[int, Field(ge=0, le=1000)]
    augment: AugmentParams

    @field_validator("augment")
    @classmethod
    def _changes_the_views(cls, augment: AugmentParams, info: ValidationInfo) -> AugmentParams:
        if info.data.get("views") and not augment.active:
            raise UnfitError(
                f"a section that changes something with `views: {info.data['views']}`",
                "Otherwise every view is the image as it is.",
            )
        return augment

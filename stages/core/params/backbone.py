"""``backbone``: the pretrained base, where it is cut and how its map becomes a vector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.backbones import (
    BACKBONES,
    Backbone,
    fit_alpha,
    fit_name,
    fit_size,
    fit_weights,
    is_path,
)
from stages.core.errors import UnfitError
from stages.core.params.base import PositiveFloat, PositiveInt, Section, Sha256


class BackboneParams(Section):
    """What the base is. ``weights_sha256`` is of the file, if ``weights`` names one.

    DVC does not know that file, so its hash among the parameters is what makes another content
    another run.
    """

    name: Annotated[str, Field(min_length=1)]
    alpha: PositiveFloat
    weights: Annotated[str, Field(min_length=1)]
    weights_sha256: Sha256 | None
    image_size: Annotated[PositiveInt, Field(le=2048)]
    cut: str | None
    pooling: Literal["avg", "max", "none"]

    @field_validator("name")
    @classmethod
    def _is_in_the_table(cls, name: str) -> str:
        fit_name(name)
        return name

    @field_validator("alpha")
    @classmethod
    def _has_weights(cls, alpha: float, info: ValidationInfo) -> float:
        if backbone := _backbone(info):
            fit_alpha(backbone, alpha)
        return alpha

    @field_validator("image_size")
    @classmethod
    def _is_large_enough(cls, image_size: int, info: ValidationInfo) -> int:
        if backbone := _backbone(info):
            fit_size(backbone, image_size)
        return image_size

    @field_validator("weights")
    @classmethod
    def _can_be_loaded(cls, weights: str, info: ValidationInfo) -> str:
        fit_weights(_backbone(info), weights)
        return weights

    @field_validator("weights_sha256")
    @classmethod
    def _belongs_to_a_file(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        weights = info.data.get("weights")
        if weights is not None and is_path(weights) and sha256 is None:
            raise UnfitError(
                f"a sha256 of 64 hexadecimal digits with `weights: {weights}`",
                "Without it, another content of that file would pass unnoticed "
                f"(`sha256sum {weights}` prints it).",
            )
        if weights is not None and not is_path(weights) and sha256 is not None:
            raise UnfitError(f"null with `weights: {weights}`", "It is for a file of your own.")
        return sha256


def _backbone(info: ValidationInfo) -> Backbone | None:
    """The record of the section's name; None if that is at fault itself."""
    return BACKBONES.get(info.data.get("name", ""))

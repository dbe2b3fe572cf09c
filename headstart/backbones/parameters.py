"""``backbone``: the pretrained backbone, where it is cut and how its map becomes a vector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart.backbones.hub_handles import HUB, fit_handle, is_address
from headstart.backbones.registry import (
    Backbone,
    fit_alpha,
    fit_name,
    fit_size,
    fit_weights,
    is_path,
    known,
)
from headstart.stage.sections import PositiveFloat, PositiveInt, Section, Sha256


class BackboneParams(Section):
    """What the backbone is. ``weights_sha256`` is of the file or module that is named beside it.

    DVC does not know that file, so its hash among the parameters is what makes another content
    another run.
    """

    name: Annotated[str, Field(min_length=1)]
    hub: Annotated[str, Field(min_length=1)] | None
    alpha: PositiveFloat
    weights: Annotated[str, Field(min_length=1)]
    weights_sha256: Sha256 | None
    image_size: Annotated[PositiveInt, Field(le=2048)] | None
    cut: str | None
    pooling: Literal["avg", "max", "none"]

    @field_validator("name")
    @classmethod
    def _is_in_the_table(cls, name: str) -> str:
        fit_name(name)
        return name

    @field_validator("hub")
    @classmethod
    def _is_a_handle(cls, hub: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name")
        if hub is None and name == HUB:
            raise UnfitError(
                f"the handle of a module with `name: {HUB}`",
                "It is an address (such as https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/"
                "feature_vector/5), a folder, or a .tar.gz.",
            )
        if hub is not None and name is not None and name != HUB:
            raise UnfitError(f"null with `name: {name}`", f"To use a module, set `name: {HUB}`.")
        if hub is not None:
            fit_handle(hub)
        return hub

    @field_validator("alpha")
    @classmethod
    def _has_weights(cls, alpha: float, info: ValidationInfo) -> float:
        if backbone := _backbone(info):
            fit_alpha(backbone, alpha)
        return alpha

    @field_validator("image_size")
    @classmethod
    def _is_large_enough(cls, image_size: int | None, info: ValidationInfo) -> int | None:
        backbone = _backbone(info)
        if image_size is None:
            if backbone is not None and backbone.name != HUB:
                raise UnfitError(
                    f"an integer with `name: {backbone.name}`",
                    f"{backbone.default_size} is what its weights were trained on; null is for "
                    "modules of TensorFlow Hub, which say what they expect.",
                )
        elif backbone is not None:
            fit_size(backbone, image_size)
        return image_size

    @field_validator("cut")
    @classmethod
    def _can_be_cut(cls, cut: str | None, info: ValidationInfo) -> str | None:
        if cut is not None and info.data.get("name") == HUB:
            raise UnfitError(f"null with `name: {HUB}`", "A module shows no layers.")
        return cut

    @field_validator("weights")
    @classmethod
    def _can_be_loaded(cls, weights: str, info: ValidationInfo) -> str:
        fit_weights(_backbone(info), weights)
        return weights

    @field_validator("weights_sha256")
    @classmethod
    def _belongs_to_a_file(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        hub = info.data.get("hub")
        if hub is not None:
            if sha256 is None and not is_address(hub):
                raise UnfitError(
                    f"a sha256 of 64 hexadecimal digits with `hub: {hub}`",
                    "Without it, another content of that module would pass unnoticed "
                    f"(`headstart show module {hub}` prints it).",
                )
            return sha256
        if info.data.get("name") == HUB:  # The handle is at fault, and that is said.
            return sha256
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
    return known(info.data.get("name", ""))

"""``backbone``: the pretrained base, where it is cut and how its map becomes a vector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.core.params.base import PositiveFloat, Section


class BackboneParams(Section):
    """Names are checked against the table of backbones when the stage starts."""

    name: Annotated[str, Field(min_length=1)]
    alpha: PositiveFloat
    weights: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=16, le=2048)]
    cut: str | None
    pooling: Literal["avg", "max", "none"]

"""``evaluate``: what is measured on the test split."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.core.params.base import PositiveInt, Section


class EvaluateParams(Section):
    """Top-k and the calibration error's bins."""

    top_k: PositiveInt
    calibration_bins: Annotated[int, Field(ge=2, le=100)]

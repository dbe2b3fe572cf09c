"""``evaluate`` and ``gate``: what is measured, and what a released model must reach."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headstart.stage.sections import NonNegativeFloat, Portion, PositiveInt, Section, Share


class EvaluateParams(Section):
    """Top-k and the calibration error's bins."""

    top_k: PositiveInt
    calibration_bins: Annotated[int, Field(ge=2, le=100)]


class GateParams(Section):
    """Bounds of the final model's scores on the test split; None: no bound.

    ``release_tags`` is a pattern of git tags, as ``git tag --list`` takes it.
    """

    min_accuracy: Portion | None
    min_accuracy_low: Portion | None
    min_macro_f1: Portion | None
    max_loss: NonNegativeFloat | None
    max_calibration_error: Portion | None
    not_worse_than_release: bool
    release_tags: Annotated[str, Field(min_length=1)]
    significance: Share

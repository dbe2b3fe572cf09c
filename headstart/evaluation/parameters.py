"""The sections ``evaluate`` and ``gate``: what is measured, and the bounds for a release."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model

from headstart.evaluation.metrics import METRICS
from headstart.stage.sections import PositiveInt, Section, Share


class EvaluateParams(Section):
    """The k of the top-k accuracy, and the bins of the expected calibration error."""

    top_k: PositiveInt
    calibration_bins: Annotated[int, Field(ge=2, le=100)]


_bounds: dict[str, Any] = {
    metric.bound: (
        Annotated[float, Field(ge=0, le=metric.largest, allow_inf_nan=False)] | None,
        ...,
    )
    for metric in METRICS
    if metric.gate
}


class GateParams(create_model("_Bounds", __base__=Section, **_bounds)):  # type: ignore[misc]
    """Bounds of the final model's metrics on the test split; None: no bound.

    A field for each metric of :data:`headstart.evaluation.metrics.METRICS` that can be a bound, by
    :attr:`~headstart.evaluation.metrics.Metric.bound`. ``release_tags`` is a pattern of git tags,
    as ``git tag --list`` takes it.
    """

    not_worse_than_release: bool
    release_tags: Annotated[str, Field(min_length=1)]
    significance: Share

"""The section ``make_report``: the content of a run's page, and its assumptions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headstart.stage.sections import PositiveFloat, Section


class MakeReportParams(Section):
    """Size of the grid of predictions, and the power behind the estimate of energy."""

    images: Annotated[int, Field(ge=1, le=300)]
    watts_per_core: PositiveFloat

"""``export``: the files that leave the project, and how closely they must agree."""

from __future__ import annotations

from stages.core.params.base import PositiveFloat, PositiveInt, Section


class ExportParams(Section):
    """Parity check of every exported form against the evaluated predictions."""

    parity_pictures: PositiveInt
    max_probability_difference: PositiveFloat

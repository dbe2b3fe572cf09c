"""``compute``: what decides bits but is no part of the model."""

from __future__ import annotations

from stages.core.params.base import PositiveInt, Section


class ComputeParams(Section):
    """Resources of the stages that train."""

    threads: PositiveInt

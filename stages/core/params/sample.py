"""``sample``: the seeded subset that is copied into folders."""

from __future__ import annotations

from stages.core.params.base import PositiveInt, Section


class SampleParams(Section):
    """Pictures a class; null means all of them. Nothing is copied if both are null."""

    train_per_class: PositiveInt | None
    validation_per_class: PositiveInt | None

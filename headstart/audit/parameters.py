"""The sections ``find_duplicates`` and ``audit``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headstart.stage.sections import Count, Section


class FindDuplicatesParams(Section):
    """The search for near duplicates: on or off, and the required agreement of detail."""

    enabled: bool
    similarity: Annotated[float, Field(ge=0.7, le=1)]


class AuditParams(Section):
    """The audit of the labels: on or off, its number of neighbors, and the smallest class."""

    enabled: bool
    neighbors: Annotated[int, Field(ge=1, le=1000)]
    small_class: Count

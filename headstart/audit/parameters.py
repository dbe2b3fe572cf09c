"""The section ``find_duplicates``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headstart.stage.sections import Section


class FindDuplicatesParams(Section):
    """Whether near duplicates are searched for, and how much their detail must agree."""

    enabled: bool
    similarity: Annotated[float, Field(ge=0.7, le=1)]

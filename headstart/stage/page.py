"""A page for people that a stage writes in addition to its outputs.

Commit, seconds and passes differ between two runs that give the same bytes, so a page that shows
them is not an output: DVC neither tracks nor restores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Page:
    """The path of a page, and the parameters that it shows.

    Attributes
    ----------
    path : Path
        Written; replaced if it exists.
    params : mapping
        All of params.yaml by section, checked. A stage with a page depends on every section, so
        that the page never shows an outdated value.
    """

    path: Path
    params: Mapping[str, Any]

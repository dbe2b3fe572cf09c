"""A page for people: what a run writes besides its outputs, and shows what no output may hold.

Commit, seconds and passes differ between two runs that give the same bytes, so a page that shows
them is no output: DVC neither tracks nor restores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Page:
    """Where the page goes, and the parameters that it shows.

    Attributes
    ----------
    path : Path
        Written; replaced if it exists.
    params : mapping
        All of params.yaml by section, checked. A stage with a page watches every section, so that
        the page never shows a value that is no longer so.
    """

    path: Path
    params: Mapping[str, Any]

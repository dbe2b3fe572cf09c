"""How `show` and `predict` print the names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Capitals = Annotated[
    bool,
    typer.Option(
        "--capitals",
        help="Show names of classes with capitals, granny_smith as Granny Smith; files and "
        "folders keep the names as they are.",
    ),
]


def shown_names(names: Sequence[str], *, capitals: bool) -> list[str]:
    """The names of classes as they are, or with capitals; in the same order."""
    from headstart.training.labels import with_capitals

    return with_capitals(names) if capitals else list(names)

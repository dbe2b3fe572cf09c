"""`headstart doctor`: find damaged objects in DVC's cache, and remove them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.front import command


@command(
    epilog="Example: headstart doctor --remove",
    needs="project",
)
def doctor(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the damaged objects from the cache.")
    ] = False,
) -> None:
    """Find damaged objects in DVC's cache by hashing each one.

    DVC believes a file in its cache by its name, so that `dvc checkout` and `dvc repro` restore a
    damaged one again and again. Once it is removed, the next run writes it anew, and `dvc pull`
    brings it from a remote. Exit code: 0 if no damaged object is left, 1 otherwise.
    """
    from headstart._utils.tables import counted, listed
    from headstart.pipeline.cache_objects import damaged_objects

    count, damaged = damaged_objects(Path.cwd())
    for found in damaged:
        users = f" ({listed(found.used_by)})" if found.used_by else ""
        typer.echo(f"Damaged: {found.path}{users}")
        if remove:
            found.remove()
    summary = f"{counted(count, 'object')} in DVC's cache, {len(damaged)} damaged."
    if not damaged:
        typer.echo(summary)
    elif remove:
        typer.echo(
            f"{summary} They were removed. `dvc repro` writes the outputs of stages again; `dvc "
            "pull` brings what the remote has."
        )
    else:
        typer.echo(f"{summary} `headstart doctor --remove` removes them.")
        raise typer.Exit(1)

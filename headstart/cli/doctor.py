"""`headstart doctor`: what is installed, where the caches are, what is wrong, and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import columns, counted, listed
from headstart.cli.front import PARAMS, command, require_project

if TYPE_CHECKING:
    from headstart.cli.faults import Fault


@command(epilog="Examples: headstart doctor | headstart doctor --quick | headstart doctor --remove")
def doctor(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the damaged objects from DVC's cache.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not hash the objects in DVC's cache.")
    ] = False,
) -> None:
    """Show what is installed, where caches are, and what is wrong.

    Each fault is shown with its remedy. In a project, every object in DVC's cache is hashed too,
    because DVC does not check them: `dvc checkout` and `dvc repro` restore a damaged one every
    time. Once it is removed, the next run writes it again, and `dvc pull` fetches it from a
    remote. Exit code: 0 if nothing stops a run, 1 otherwise.
    """
    from headstart._utils.cache import cache_folder as caches_of_user
    from headstart.cli import faults, installed

    if remove and quick:
        raise HeadstartError("--remove needs the hashes that --quick leaves out. Nothing was done.")
    root = Path.cwd()
    found: list[Fault] = []
    project = (root / "dvc.yaml").is_file() and (root / PARAMS).is_file()
    cache = _cache_of(root, found) if project else None
    _print("Installed", columns(installed.versions(), "ll"))
    _print("Extras", columns(installed.extras(), "ll"))
    _print("Caches", columns(installed.caches(cache), "lrl"))
    found += faults.of_machine((root, caches_of_user()))
    if project:
        found += faults.of_project(root)
    if cache is not None and not quick:
        found += _damaged(root, remove=remove)
    _conclude(root, found, project=project)


def _print(heading: str, table: str) -> None:
    typer.echo(f"{heading}:")
    typer.echo("\n".join(f"  {line}" for line in table.splitlines()) + "\n")


def _cache_of(root: Path, found: list[Fault]) -> Path | None:
    """Return the folder of DVC's cache; if DVC cannot read the project, add the fault."""
    from headstart.cli.faults import Fault
    from headstart.pipeline.cache_objects import cache_folder

    try:
        require_project(root)
        return cache_folder(root)
    except HeadstartError as error:
        found.append(Fault(str(error), ""))
        return None


def _damaged(root: Path, *, remove: bool) -> list[Fault]:
    """Print the damaged objects, remove them if asked, and return a fault if any is left."""
    from headstart.cli.faults import Fault
    from headstart.pipeline.cache_objects import damaged_objects

    count, damaged = damaged_objects(root)
    for each in damaged:
        users = f" ({listed(each.used_by)})" if each.used_by else ""
        typer.echo(f"Damaged: {each.path}{users}")
        if remove:
            each.remove()
    summary = f"{counted(count, 'object')} in DVC's cache, {len(damaged)} damaged."
    if damaged and not remove:
        return [Fault(summary, "`headstart doctor --remove` removes them.")]
    typer.echo(summary)
    if damaged:
        typer.echo(
            "They were removed. `dvc repro` writes the outputs of stages again; `dvc pull` brings "
            "what the remote has."
        )
    return []


def _conclude(root: Path, found: Sequence[Fault], *, project: bool) -> None:
    for title, stops in (("Wrong", True), ("Worth knowing", False)):
        lines = [f"  - {fault}".rstrip() for fault in found if fault.stops == stops]
        if lines:
            typer.echo("\n".join([f"{title}:", *lines]))
    if not project:
        typer.echo(f"{root} is not a project: run this in a project's folder to check it, too.")
    if any(fault.stops for fault in found):
        raise typer.Exit(1)
    typer.echo("Nothing stops a run.")

"""`headstart init`: a user's own project around the installed library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import counted
from headstart.cli.front import command


@command(
    epilog="Examples: headstart init my-flowers | headstart init --upgrade my-flowers",
)
def init(
    directory: Annotated[Path, typer.Argument(help="The project's folder; created if absent.")],
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade", help="Show what this version would change in an existing project."
        ),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="With --upgrade: write the changes, except conflicts."),
    ] = False,
) -> None:
    """Create a project, ready for `dvc repro`.

    It contains the pipeline, its parameters, the stages and the flows.
    """
    from headstart.projects import create as projects

    if apply and not upgrade:
        raise HeadstartError("--apply needs --upgrade. Nothing was written.")
    if upgrade:
        _upgrade(directory, apply=apply)
        return
    written = projects.create(directory)
    typer.echo(f"Created {directory} ({counted(len(written), 'file')}, git and DVC initialized).")
    typer.echo(
        "Next:\n"
        f"  cd {directory}\n"
        "  dvc repro                      run the pipeline on 1,797 digits that come with it\n"
        "Your own images: put one folder per class into data/raw, then\n"
        "  headstart recipe my-photos && headstart plan && dvc repro"
    )


def _upgrade(directory: Path, *, apply: bool) -> None:
    from difflib import unified_diff

    from headstart.projects import create as projects

    found = projects.changes(directory)
    for change in found:
        typer.echo(f"{change.kind}: {change.path}")
        old, new = change.old.splitlines(keepends=True), change.new.splitlines(keepends=True)
        typer.echo("".join(unified_diff(old, new, "project", "this version")))
    conflicts = [change.path for change in found if change.kind == "conflict"]
    if not found:
        typer.echo(f"{directory} is up to date.")
    elif apply:
        projects.upgrade(directory, found)
        typer.echo(f"Wrote {len(found) - len(conflicts)} of {counted(len(found), 'change')}.")
    else:
        typer.echo(f"{counted(len(found), 'file')} would change; --apply writes them.")
    if conflicts:
        typer.echo(f"You have edited {', '.join(conflicts)}: merge the lines above by hand.")

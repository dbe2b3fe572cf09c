"""`headstart serve`: runs on a schedule, on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.front import command

OFF = "off"


@command(
    says="Run the pipeline and the reproduction of the newest commit on a schedule, in the current "
    "folder, until interrupted. Needs a Prefect server (`prefect server start`), no worker. New "
    "results become a commit on a branch headstart/runs/NAME; the checkout stays as it is, and has "
    "to be clean.",
    epilog='Example: headstart serve --nightly "0 2 * * *" --weekly off --timezone Europe/Berlin',
)
def serve(
    nightly: Annotated[
        str, typer.Option(metavar="CRON", help='When the pipeline runs; "off": never.')
    ] = "0 2 * * *",
    weekly: Annotated[
        str, typer.Option(metavar="CRON", help='When HEAD is reproduced; "off": never.')
    ] = "0 4 * * 0",
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help='Of both schedules, e.g. "Europe/Berlin".')
    ] = "UTC",
    commit: Annotated[
        bool, typer.Option("--commit/--no-commit", help="Commit what is new to a branch.")
    ] = True,
    push: Annotated[
        bool, typer.Option("--push/--no-push", help="Push that branch and its data, too.")
    ] = False,
    pause_on_shutdown: Annotated[
        bool,
        typer.Option(
            "--pause-on-shutdown/--keep-planning",
            help="When this ends, plan no more runs; or plan on, and run them late.",
        ),
    ] = True,
) -> None:
    """Serve both flows from the current folder."""
    os.environ.setdefault("DO_NOT_TRACK", "1")

    from headstart.runs import deployments

    timetable = deployments.Timetable(
        nightly=None if nightly == OFF else nightly,
        weekly=None if weekly == OFF else weekly,
        timezone=timezone,
    )
    deployments.serve(
        Path.cwd(), timetable, commit=commit, push=push, pause_on_shutdown=pause_on_shutdown
    )

"""`headstart serve`: run the pipeline on a schedule, on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.front import command

OFF = "off"


@command(
    epilog='Example: headstart serve --nightly "0 2 * * *" --weekly off --timezone Europe/Berlin',
    needs="commits",
)
def serve(
    nightly: Annotated[
        str, typer.Option(metavar="CRON", help='Schedule of the pipeline; "off" for none.')
    ] = "0 2 * * *",
    weekly: Annotated[
        str, typer.Option(metavar="CRON", help='Schedule of reproducing HEAD; "off" for none.')
    ] = "0 4 * * 0",
    timezone: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of both schedules, like Europe/Berlin.")
    ] = "UTC",
    commit: Annotated[
        bool, typer.Option("--commit/--no-commit", help="Commit new results to a branch.")
    ] = True,
    push: Annotated[
        bool, typer.Option("--push/--no-push", help="Also push that branch and its data.")
    ] = False,
    pause_on_shutdown: Annotated[
        bool,
        typer.Option(
            "--pause-on-shutdown/--keep-scheduling",
            help="When this ends: schedule no more runs, or keep scheduling and run them late.",
        ),
    ] = True,
) -> None:
    """Run and reproduce the pipeline on a schedule.

    It runs the current folder and reproduces its newest commit, until interrupted. It needs a
    Prefect server (`prefect server start`), but no worker. New results become a commit on a branch
    headstart/runs/NAME; the checkout must be clean and is not changed.
    """
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

"""`headstart serve`: both flows on a schedule, in the current folder, without a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import prefect
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from pydantic import ValidationError

from headstart._utils.errors import HeadstartError
from headstart.pipeline import graph
from headstart.runs.project_flows import project_flow

USUAL_URL = "http://127.0.0.1:4200/api"
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Timetable:
    """When what runs; a schedule is a cron line of five fields, None: not at all.

    Attributes
    ----------
    nightly, weekly : str or None
        Of the pipeline; of the reproduction of the newest commit.
    timezone : str
        IANA name.
    """

    nightly: str | None
    weekly: str | None
    timezone: str = "UTC"

    def check(self) -> None:
        """Raise HeadstartError if the timetable is invalid."""
        if self.nightly is None and self.weekly is None:
            raise HeadstartError(
                "There is nothing to serve: both schedules are off. Set --nightly or --weekly."
            )
        zone = (
            f"--timezone is {self.timezone!r}; the name of a time zone was expected, such as "
            '"Europe/Berlin", "America/New_York" or "UTC".'
        )
        for option, line in (("--nightly", self.nightly), ("--weekly", self.weekly)):
            if line is None:
                continue
            cron = (
                f"{option} is {line!r}; a cron line was expected: minute, hour, day, month, day of "
                'the week, as in "0 2 * * *" (every day at 2:00) or "30 4 * * 1-5".'
            )
            for timezone, problem in (("UTC", cron), (self.timezone, zone)):
                try:
                    CronSchedule(cron=line, timezone=timezone)
                except ValidationError as error:
                    raise HeadstartError(problem) from error


def server_url() -> str:
    """Return the address of the server's API, if it answers.

    Raises
    ------
    HeadstartError
        If none answers.
    """
    configured = get_current_settings().api.url
    url = str(configured or USUAL_URL)
    try:
        httpx.get(f"{url}/health", timeout=_PATIENCE_S).raise_for_status()
    except httpx.HTTPError as error:
        reason = "PREFECT_API_URL says so" if configured else "the default address"
        raise HeadstartError(
            f"No Prefect server answers at {url} ({reason}): {error or type(error).__name__}. "
            "Nothing was scheduled. Start one in another terminal, from the project's folder, and "
            "leave it running:\n"
            "  prefect server start\n"
            "With a port other than 4200, three addresses have to agree:\n"
            "  PREFECT_SERVER_UI_API_URL=http://127.0.0.1:4300/api "
            "prefect server start --port 4300\n"
            "  PREFECT_API_URL=http://127.0.0.1:4300/api headstart serve"
        ) from error
    return url


def deployments(
    root: Path, timetable: Timetable, *, commit: bool, push: bool
) -> tuple[RunnerDeployment, ...]:
    """Return what is served, named after the project's folder to tell several apart.

    Parameters
    ----------
    root : Path
        The project's folder.
    timetable : Timetable
    commit, push : bool
        As the pipeline's flow takes them.
    """
    wanted: list[tuple[str, str, str | None, Mapping[str, Any]]] = [
        ("pipeline", "nightly", timetable.nightly, {"commit": commit, "push": push}),
        ("reproduce", "weekly-reproduce", timetable.weekly, {"rev": "HEAD"}),
    ]
    return tuple(
        project_flow(root, flow).to_deployment(
            name=f"{root.name}-{name}",
            schedule=Cron(line, timezone=timetable.timezone),
            parameters={"root": os.fspath(root), **parameters},
            description=f"In {root}: {line} ({timetable.timezone})",
        )
        for flow, name, line, parameters in wanted
        if line is not None
    )


def serve(
    root: Path, timetable: Timetable, *, commit: bool, push: bool, pause_on_shutdown: bool
) -> None:
    """Run the scheduled flows, one at a time, until interrupted.

    Parameters
    ----------
    root : Path
        The project's folder; the current one, in which the runs take place.
    timetable : Timetable
    commit, push : bool
        As the pipeline's flow takes them.
    pause_on_shutdown : bool
        At the end, stop the server from scheduling more runs. Otherwise it keeps scheduling runs,
        which start late when this is called again.

    Raises
    ------
    HeadstartError
        If there is no project, no server, or no such schedule.
    """
    timetable.check()
    graph.stages(root)
    url = server_url()
    with temporary_settings(updates={PREFECT_API_URL: url}):
        served = deployments(root, timetable, commit=commit, push=push)
        for one in served:
            print(f"{one.full_name}: {one.description}", flush=True)
        print(f"Pages: {url.removesuffix('/api')}. To stop: Ctrl-C.", flush=True)
        # Runs of both take place in this folder: a limit of the runner, not of a deployment, which
        # a restart of the server would end (docs/scheduling.md).
        prefect.serve(
            *served, limit=1, pause_on_shutdown=pause_on_shutdown, print_starting_message=False
        )

"""`headstart run`: run the stages with Prefect, in this terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.front import command, read_parameters
from headstart.cli.summary import summary

if TYPE_CHECKING:
    from headstart.runs.local_runner import Finished

_INTERRUPTED = 130
_LOST = (
    "Prefect's server stopped during the run, so its pages do not show how the run ended. The "
    "stages are not affected: DVC has recorded their outputs (`dvc status` shows it)."
)


@command(
    epilog="Example: headstart run | with a web page: `prefect server start` in another terminal, "
    "then `PREFECT_API_URL=http://127.0.0.1:4200/api headstart run`",
    needs="project",
)
def run(
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Hold a model that fails the gate.")
    ] = True,
    commit: Annotated[
        bool, typer.Option("--commit", help="Commit new results to a branch of the run.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read every file, and trust no hash that was recorded."),
    ] = False,
) -> None:
    """Run the changed stages with Prefect, as `dvc repro` would.

    Independent stages run side by side, with retries, time limits and a gate. A file whose size,
    times and inode are unchanged is not read again, unless you --verify. Without PREFECT_API_URL, a
    temporary server is started. Exit code: 0 success, 1 a stage failed, 5 held by the gate, 130
    interrupted.
    """
    # Parameters before DVC, and both before Prefect: each takes seconds to start.
    read_parameters()

    from headstart.pipeline import graph

    graph.require_sources(Path.cwd(), graph.stages(Path.cwd()))
    os.environ.setdefault("DO_NOT_TRACK", "1")

    from headstart.runs.local_runner import run_locally

    with ExitStack() as stack:
        if verify:
            stack.enter_context(_trusting_no_record())
        leave = partial(_leave, stack)
        finished = run_locally(Path.cwd(), gate=gate, commit=commit, on_lost=leave)
        if finished.lost:
            leave(finished)
        _show(finished)
    if finished.code:
        raise typer.Exit(finished.code)


@contextmanager
def _trusting_no_record() -> Iterator[None]:
    """Let the stages read every file, and let DVC begin with no hashes of files."""
    with tempfile.TemporaryDirectory(
        prefix="headstart-verify-", ignore_cleanup_errors=True
    ) as folder:
        os.environ |= {"HEADSTART_VERIFY": "1", "DVC_SITE_CACHE_DIR": folder}
        yield


def _leave(stack: ExitStack, finished: Finished) -> None:
    """End at once: Prefect would wait for its server to report the rest."""
    from headstart.runs.local_runner import end_temporary_server

    try:
        _show(finished)
        end_temporary_server()
        stack.close()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(finished.code)


def _show(finished: Finished) -> None:
    """Print how the run ended, and where its results are."""
    if finished.code == _INTERRUPTED:
        typer.echo(finished.message, err=True)
    elif finished.code:
        typer.echo(f"Error: {finished.message}", err=True)
    else:
        typer.echo(f"\n{finished.message}\n")
        if _has_scores():
            summary()
    if finished.lost:
        if not (finished.temporary and finished.code == _INTERRUPTED):
            typer.echo(f"\n{_LOST}", err=True)
    elif finished.address:
        typer.echo(f"\nThe run's page: {finished.address}")


def _has_scores() -> bool:
    from headstart.pipeline import graph

    return {"evaluate", "export"} <= {stage.name for stage in graph.stages(Path.cwd())}

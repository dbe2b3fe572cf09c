"""`headstart reproduce`: run a commit again in a clean copy, and write a certificate."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import command

WORSE, INTERRUPTED = 4, 130


@command(
    epilog="Examples: headstart reproduce HEAD | headstart reproduce v1.0 --require metric-equal | "
    "headstart reproduce HEAD --set compute.threads=4",
    needs="commits",
)
def reproduce(
    rev: Annotated[str, typer.Argument(help="The commit: HEAD, a tag, a branch, a hash.")],
    require: Annotated[
        Literal["bit-exact", "numerically-equal", "metric-equal"],
        typer.Option(help="Required verdict."),
    ] = "bit-exact",
    warm: Annotated[
        bool, typer.Option("--warm", help="Use the features that your store has recorded.")
    ] = False,
    from_source: Annotated[
        bool,
        typer.Option(
            "--from-source", help="Download the data again, even if DVC's cache or remote has it."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the copy for inspection.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for the certificate. Default: data/certificates/COMMIT.",
        ),
    ] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", "-S", metavar="KEY=VALUE", help="Run with another parameter value."),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|lock",
            help="The Python that runs the stages: another environment's, or `lock` for a new one "
            "from the commit's requirements.lock.",
        ),
    ] = None,
) -> None:
    """Run a commit again in a clean copy, and compare every output.

    The copy has the commit's own code, no cache and no recorded features; your checkout, cache and
    store stay unchanged. Compared with its dvc.lock, the outputs are bit-exact, numerically-equal,
    metric-equal or different. Exit code: 0 the required verdict or a better one, 4 a worse one, 1
    or 2 no verdict.
    """
    from headstart._utils.cache import cache_folder
    from headstart.runs.certificate import CERTIFICATES, write
    from headstart.runs.child import ended_by_signals
    from headstart.runs.rerun import Request, rerun
    from headstart.runs.verdict import Verdict

    request = Request(
        rev,
        require=Verdict(require),
        warm=cache_folder() if warm else None,
        from_source=from_source,
        keep=keep,
        changed=tuple(changed or ()),
        python=python,
        command=shlex.join(["headstart", *sys.argv[1:]]),
    )
    try:
        with ended_by_signals():
            made = rerun(Path.cwd(), request, say=typer.echo)
    except KeyboardInterrupt:
        copy = "was kept" if keep else "was removed"
        typer.echo(f"\nInterrupted: the stages were stopped and the copy {copy}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"\nVerdict: {made.line()}")
    folder = certificate or CERTIFICATES / made.commit[:12]
    try:
        paths = write(made, folder)
    except OSError as error:
        raise HeadstartError(
            f"The certificate could not be written to {folder}: {error}. Name another folder with "
            "--certificate; the stages have to run again."
        ) from error
    typer.echo(f"Certificate: {paths[1]} (and {paths[0].name})")
    if not made.reached:
        raise typer.Exit(WORSE)

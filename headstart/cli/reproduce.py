"""`headstart reproduce`: a commit run again in a clean copy, with a certificate."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.front import command

WORSE, INTERRUPTED = 4, 130
_CERTIFICATES = Path("data/certificates")  # ignored by git, as all of data


@command(
    says="Run a commit again in a clean copy (its own code, no cache, no recorded features) and "
    "compare every output with its dvc.lock: bit-exact, numerically-equal, metric-equal or "
    "different. Your checkout, cache and store stay as they are. Exit code 0: the verdict that was "
    "asked for, or a better one; 4: a worse one; 1 or 2: there is no verdict.",
    epilog="Examples: headstart reproduce HEAD | headstart reproduce v1.0 --require metric-equal | "
    "headstart reproduce HEAD --set compute.threads=4",
)
def reproduce(
    rev: Annotated[str, typer.Argument(help="The commit: HEAD, a tag, a branch, a hash.")],
    require: Annotated[
        str,
        typer.Option(help="bit-exact | numerically-equal | metric-equal: what counts as success."),
    ] = "bit-exact",
    warm: Annotated[
        bool, typer.Option("--warm", help="Use the features that your store has recorded.")
    ] = False,
    from_source: Annotated[
        bool,
        typer.Option(
            "--from-source", help="Fetch the data anew, also if DVC's cache or remote has it."
        ),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the copy, to look at.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the certificate goes (default: data/certificates/COMMIT).",
        ),
    ] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", "-S", metavar="KEY=VALUE", help="Run it with another parameter."),
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
    """Print progress and the verdict, write the certificate."""
    from headstart._utils.errors import HeadstartError, ParameterError

    verdicts = ("bit-exact", "numerically-equal", "metric-equal")
    if require not in verdicts:
        raise ParameterError(f"--require must be one of {', '.join(verdicts)}. Got {require!r}.")

    from headstart._utils.cache import cache_folder
    from headstart.runs.certificate import write
    from headstart.runs.clean_copy import ended_by_signals
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
        copy = "is left" if keep else "was removed"
        typer.echo(f"\nInterrupted: the stages were ended and the copy {copy}.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(f"\nVerdict: {made.line()}")
    folder = certificate or _CERTIFICATES / made.commit[:12]
    try:
        paths = write(made, folder)
    except OSError as error:
        raise HeadstartError(
            f"The certificate could not be written to {folder}: {error}. --certificate names "
            "another folder; the stages have to run again for it."
        ) from error
    typer.echo(f"Certificate: {paths[1]} (and {paths[0].name})")
    if not made.reached:
        raise typer.Exit(WORSE)

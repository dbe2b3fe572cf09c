"""`headstart report`: the page of the run whose files lie in `data`, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import PARAMS, browse, command

STAGE = "make_report"


@command(
    says="Write the report page again from what lies in `data`: after `dvc checkout`, or with "
    "another commit's message. The stage make_report writes it in every run. Computes nothing.",
    epilog="Example: headstart report --open",
)
def report(
    show: Annotated[bool, typer.Option("--open", help="Then open it in the browser.")] = False,
) -> None:
    """Render the page, and say where it is."""
    path = write(Path.cwd())
    typer.echo(f"The report: {path} (open it in a browser; it needs no network).")
    if show:
        browse(path)


def write(root: Path) -> Path:
    """Write the page of the project in ``root``, the current folder, and return its path."""
    import tempfile

    from headstart.pipeline import graph
    from headstart.pipeline.plan import options
    from headstart.stage.page import Page
    from headstart.stage.parameters import read_params

    params = read_params(PARAMS)
    stages = {stage.name: stage for stage in graph.stages(root)}
    if STAGE not in stages:
        raise HeadstartError(f"dvc.yaml has no stage {STAGE}, which says where the files are.")
    paths = {name: Path(value) for name, value in options(stages[STAGE]).items()}
    page = Page(paths.pop("page"), params.model_dump())
    del paths["figures"]  # Drawn anew: they may be of another run, or not be there.
    for path in paths.values():
        if not path.exists():
            raise HeadstartError(f"There is no {path} yet. Run the pipeline first: `dvc repro`.")

    from headstart.report.run import Files, draw, read, show

    run = read(Files(**paths))
    with tempfile.TemporaryDirectory() as folder:
        draw(run, Path(folder))
        show(run, Path(folder), page, params.seed, params.make_report)
    return page.path

"""`headstart summary` and `headstart report`: the results of the latest run, as text and page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.front import StageFiles, browse, command, read_parameters
from headstart.cli.plan import planned_run


@command(
    epilog="Example: headstart summary",
    needs="project",
)
def summary() -> None:
    """Show scores, exported files, passes and seconds of a run.

    They are read from `data`: the scores of the current model, and the passes of the last run that
    had something to compute.
    """
    from headstart.evaluation.passes import read_table
    from headstart.evaluation.recorded import read_evaluation
    from headstart.evaluation.summary import passes_text, scores_text
    from headstart.pipeline.presence import has_run
    from headstart.report.cost import files_of

    root = Path.cwd()
    files = StageFiles(root)
    [metrics] = files.existing("evaluate", "metrics")
    if not has_run(root):
        typer.echo(
            "NOT RUN HERE: these scores came with the commit. `dvc repro` runs the pipeline, and "
            "`dvc pull` brings the recorded files if its remote has them.\n"
        )
        typer.echo(scores_text(read_evaluation(metrics)))
        return
    changed = [entry.stage.name for entry in planned_run(root) if entry.reasons]
    if changed:
        typer.echo(
            f"OUT OF DATE: inputs have changed since this run; {', '.join(changed)} would run now "
            "(`headstart plan` shows why).\n"
        )
    typer.echo(scores_text(read_evaluation(metrics)))
    table = files("evaluate", "run_statistics") / "runtime.json"
    if table.exists():
        typer.echo("\nThe last run that had something to compute:")
        typer.echo(passes_text(read_table(table)))
    exported = files("export", "export_folder")
    if exported.is_dir():
        typer.echo(f"\nExported to {exported}, each format reloaded and compared:")
        for file in files_of(exported):
            typer.echo(f"  {file['name']:22}{_size(file['bytes']):>11}")
    typer.echo(f"\n{_report_state(files('make_report', 'page'), metrics)}")


def _report_state(page: Path, metrics: Path) -> str:
    """Return a sentence about the page, which DVC does not restore with the other files."""
    if not page.exists():
        return "There is no report yet: `headstart report` writes it."
    if page.stat().st_mtime < metrics.stat().st_mtime:
        return f"The report {page} is older than these scores: `headstart report` updates it."
    return f"Report: {page} (open it in a browser, or run `headstart report --open`)"


@command(
    epilog="Example: headstart report --open",
    needs="project",
)
def report(
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report page again, without computing anything.

    This is useful after `dvc checkout`, or for another commit message; the stage make_report writes
    the page in every run.
    """
    import tempfile

    from headstart.stage.page import Page

    params = read_parameters()
    files = StageFiles(Path.cwd())
    paths = dict(files.of("make_report"))
    page = Page(paths.pop("page"), params.model_dump())
    del paths["figures"]  # Drawn again: they may be missing, or belong to another run.
    files.existing("make_report", *paths)

    from headstart.report import run as reporting

    run = reporting.Run(reporting.Files(**paths))
    with tempfile.TemporaryDirectory() as folder:
        reporting.draw(run, Path(folder))
        reporting.show(run, Path(folder), page, params.seed, params.make_report)
    typer.echo(f"Report: {page.path} (open it in a browser; it needs no network)")
    if show:
        browse(page.path)


def _size(count: int) -> str:
    """Return a number of bytes: ``5.8 MB``, or ``3.6 KB`` for a small file."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} KB"

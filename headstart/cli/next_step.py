"""`headstart` without a command: the next step in the current folder."""

from __future__ import annotations

from pathlib import Path

import typer

from headstart._utils.tables import columns, listed
from headstart.cli.front import PARAMS, command, require_project

_HELP = ("headstart --help", "list the commands")


@command(epilog="")
def show() -> None:
    """Print the state of the folder's project, and the commands for the next step."""
    state, steps = _next(Path.cwd())
    typer.echo(f"{state}\n")
    typer.echo(columns([(f"  {name}", meaning) for name, meaning in (*steps, _HELP)], "ll"))


def _next(root: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return a sentence about the folder, and commands with their meaning."""
    if not (root / "dvc.yaml").is_file() or not (root / PARAMS).is_file():
        return _elsewhere(root)
    require_project(root)

    from headstart.cli.plan import planned_run
    from headstart.pipeline import graph
    from headstart.pipeline.presence import has_run

    graph.require_sources(root, graph.stages(root))  # DVC would only say `[Errno 2]`.
    if not has_run(root):
        return (
            "The pipeline has not run in this folder yet.",
            [
                ("dvc repro", "run it on the images that come with the project"),
                ("headstart recipe my-photos", "or use your own, one folder per class in data/raw"),
                ("headstart plan", "show what the next run would do, and how long it would take"),
            ],
        )
    changed = [entry.stage.name for entry in planned_run(root) if entry.reasons]
    if changed:
        return (
            f"Inputs have changed since the last run: {listed(changed)} would run now.",
            [
                ("headstart plan", "show why, and how long it would take"),
                ("dvc repro", "run what changed"),
            ],
        )
    return (
        "The last run is up to date.",
        [
            ("headstart summary", "show its scores"),
            ("headstart report --open", "open its page"),
            ("headstart predict IMAGE", "classify images with the exported model"),
            ("headstart recipe", "list the recipes: other images, other backbones"),
        ],
    )


def _elsewhere(root: Path) -> tuple[str, list[tuple[str, str]]]:
    from headstart._utils.errors import near_project

    steps = [("headstart init my-project", "create a project")]
    near = near_project(root)
    if near is not None:
        steps.insert(0, (f"cd {near}", "change to the project there"))
    return f"{root} is not a Headstart project.", steps

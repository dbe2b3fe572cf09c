"""The ``headstart`` command, with the list of its subcommands."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer

from headstart._utils.machine import name_user
from headstart._utils.streams import print_anything
from headstart.cli import (
    classify,
    cluster,
    compare,
    compare_backbones,
    doctor,
    drift,
    features,
    gate,
    import_backbone,
    init,
    list_objects,
    next_step,
    plan,
    predict,
    reproduce,
    review,
    run,
    serve,
    serve_model,
    show,
    sizes,
    store,
    suggest,
    summary,
    sweep,
    values,
)
from headstart.cli.front import Headed, register


class _Group(Headed):
    """The command, on a terminal of any encoding."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command."""
        print_anything()
        name_user()
        return super().main(*args, **kwargs)


app = typer.Typer(
    name="headstart",
    cls=_Group,
    help="Turn a folder of labeled images into a verified image classifier.",
    epilog="`headstart` without a command shows the next step in this folder. `headstart COMMAND "
    "--help` shows examples. `dvc repro` runs the pipeline.",
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode=None,  # Plain help starts faster, and looks the same in every terminal.
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"headstart {metadata.version('headstart')}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it all
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Show the next step in this folder if there is no subcommand."""
    if context.invoked_subcommand is None:
        next_step.show()


register(
    app,
    init.init,
    values.recipe,
    values.params,
    doctor.doctor,
    list_objects.list_objects,
    heading="Set up",
)
register(app, plan.plan, run.run, serve.serve, heading="Run the pipeline")
register(
    app,
    values.backbones,
    import_backbone.import_backbone,
    compare_backbones.compare_backbones,
    sweep.sweep,
    heading="Choose a model",
)
register(app, summary.summary, summary.report, review.review, heading="Look at a run")
app.add_typer(show.app, rich_help_panel="Look at a run")
app.add_typer(store.app, rich_help_panel="Set up")
app.add_typer(cluster.app, rich_help_panel="Run the pipeline")
register(
    app,
    compare.compare,
    gate.gate,
    reproduce.reproduce,
    heading="Check and compare runs",
)
register(
    app,
    predict.predict,
    serve_model.serve_model,
    sizes.sizes,
    features.features,
    classify.classify,
    heading="Use a model",
)
register(app, suggest.suggest, drift.drift, heading="Look at new images")

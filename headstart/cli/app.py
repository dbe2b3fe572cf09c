"""The ``headstart`` command: the list of its subcommands, one module each."""

from __future__ import annotations

import typer

from headstart.cli import (
    classify,
    compare,
    features,
    gate,
    init,
    planning,
    predict,
    report,
    reproduce,
    run,
    serve,
    serve_model,
    show,
    sizes,
    values,
)
from headstart.cli.front import register

app = typer.Typer(
    name="headstart",
    help="A folder of labeled images in, a verified image classifier out.",
    epilog="`dvc repro` runs the pipeline; `headstart plan` says first what it would do.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # plain help starts faster, and is the same in every terminal
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Keep the subcommands' names, however many there are."""


register(
    app,
    init.init,
    planning.plan,
    run.run,
    serve.serve,
    reproduce.reproduce,
    compare.compare,
    gate.gate,
    sizes.sizes,
    values.params,
    values.backbones,
    values.recipe,
    planning.summary,
    report.report,
    predict.predict,
    features.features,
    classify.classify,
    serve_model.serve_model,
)
app.add_typer(show.app)

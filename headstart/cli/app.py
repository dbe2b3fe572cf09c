"""The ``headstart`` command, with the list of its subcommands."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from headstart._utils.machine import name_user
from headstart._utils.streams import print_anything
from headstart.cli import (
    classify,
    compare,
    doctor,
    features,
    gate,
    init,
    plan,
    predict,
    reproduce,
    run,
    serve,
    serve_model,
    show,
    sizes,
    summary,
    values,
)
from headstart.cli.front import register


class _Group(TyperGroup):
    """The command, on a terminal of any encoding."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        print_anything()
        name_user()
        return super().main(*args, **kwargs)


app = typer.Typer(
    name="headstart",
    cls=_Group,
    help="Turn a folder of labeled images into a verified image classifier.",
    epilog="`headstart plan` shows what the next run would do, and `dvc repro` runs the pipeline.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # Plain help starts faster, and looks the same in every terminal.
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Keep the names of subcommands, even of a single one."""


register(
    app,
    init.init,
    plan.plan,
    run.run,
    serve.serve,
    reproduce.reproduce,
    compare.compare,
    gate.gate,
    sizes.sizes,
    values.params,
    values.backbones,
    values.recipe,
    summary.summary,
    summary.report,
    doctor.doctor,
    predict.predict,
    features.features,
    classify.classify,
    serve_model.serve_model,
)
app.add_typer(show.app)

"""What all subcommands share: their help, and how an error reaches a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import typer

from headstart._utils.errors import HeadstartError

P = ParamSpec("P")

PARAMS = Path("params.yaml")


def command(*, says: str, epilog: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Give a subcommand its help, and show a person's error as its message alone."""

    def decorator(function: Callable[P, None]) -> Callable[P, None]:
        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except HeadstartError as error:
                typer.echo(f"Error: {error}", err=True)
                raise typer.Exit(error.exit_code) from None

        vars(wrapper).update(help=says, epilog=epilog)
        return wrapper

    return decorator


def browse(path: Path) -> None:
    """Open a file in the browser.

    Raises
    ------
    HeadstartError
        If there is none that could be started.
    """
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        raise HeadstartError(f"No browser could be started. Open {path.resolve()} yourself.")


def register(app: typer.Typer, *functions: Callable[..., None]) -> None:
    """Make subcommands of functions that :func:`command` decorated, named after them."""
    for function in functions:
        told = vars(function)
        app.command(help=told["help"], epilog=told["epilog"])(function)

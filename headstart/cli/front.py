"""Parts that all commands share: help, errors, the project's files, and the browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec

import typer
from typer.core import TyperGroup

from headstart._utils.disk import disk_fault
from headstart._utils.errors import (
    CorruptFileError,
    HeadstartError,
    WiringError,
    not_a_project,
    upgrade_hint,
)

P = ParamSpec("P")

PARAMS = Path("params.yaml")


def command(
    *, epilog: str, needs: Literal["project", "commits"] | None = None
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate a subcommand; its docstring is the help, and its errors become plain messages.

    Parameters
    ----------
    epilog : str
        Examples.
    needs : "project", "commits" or None
        The current folder must be a project, or a project under git with at least one commit.
    """

    def decorator(function: Callable[P, None]) -> Callable[P, None]:
        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                if needs is not None:
                    require_project(Path.cwd(), commits=needs == "commits")
                function(*args, **kwargs)
            except HeadstartError as error:
                typer.echo(f"Error: {_message(error)}", err=True)
                raise typer.Exit(error.exit_code) from None
            except OSError as error:
                fault = disk_fault(error)
                if fault is None:
                    raise
                cure = (
                    "Make room there"
                    if fault.full
                    else "Change its owner or mode"
                    if fault.denied
                    else "See whether the disk is sound"
                )
                typer.echo(f"Error: {fault.sentence()} {cure}; then run again.", err=True)
                raise typer.Exit(1) from None

        vars(wrapper).update(epilog=epilog)
        return wrapper

    return decorator


def _message(error: HeadstartError) -> str:
    if not isinstance(error, CorruptFileError):
        return str(error)
    from headstart.stage.cures import with_cure

    return with_cure(error)


def register(app: typer.Typer, *functions: Callable[..., None], heading: str = "") -> None:
    """Add functions decorated with :func:`command` as subcommands named after them.

    Parameters
    ----------
    app : typer.Typer
    *functions : callable
    heading : str
        The heading above them in the list of commands, if the app is a :class:`Headed` group.
    """
    for function in functions:
        app.command(epilog=vars(function)["epilog"], rich_help_panel=heading)(function)


class Headed(TyperGroup):
    """A group whose help lists the commands under headings, each summary on one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's
        """Write the commands, the headings in the order in which they were registered."""
        headings: dict[str, list[tuple[str, Any]]] = {}
        for name, found in self.commands.items():
            heading = getattr(found, "rich_help_panel", None) or "Commands"
            headings.setdefault(heading, []).append((name, found))
        for heading, rows in headings.items():
            # Of this heading: one long name must not cut the summaries of all others.
            widest = max(len(name) for name, _ in rows)
            room = formatter.width - widest - 4
            with formatter.section(heading):
                formatter.write_dl(
                    [(name.ljust(widest), each.get_short_help_str(room)) for name, each in rows]
                )


def require_project(folder: Path, *, commits: bool = False) -> None:
    """Refuse a folder that is not a project, or not under git if commits are needed.

    Raises
    ------
    HeadstartError
        In one sentence, with a second one that names the next step.
    """
    for name in ("dvc.yaml", PARAMS.name):
        if not (folder / name).is_file():
            raise not_a_project(folder, name)
    if not any((parent / ".dvc").is_dir() for parent in (folder, *folder.parents)):
        raise HeadstartError(
            f"DVC is not initialized in {folder}: there is no .dvc folder. Run `dvc init`, or "
            "`dvc init --no-scm` for a project without git."
        )
    if commits:
        _require_commits(folder)


def _require_commits(folder: Path) -> None:
    from headstart.pipeline.git import Repository

    if shutil.which("git") is None:
        raise HeadstartError(
            "This command reads commits, and there is no `git` on the path. Install git: "
            "https://git-scm.com/downloads."
        )
    repository = Repository(folder)
    if not repository.ask("rev-parse", "--show-toplevel"):
        raise HeadstartError(
            f"This command reads commits, and {folder} is not in a git repository. Run "
            '`git init`, then `git add --all` and `git commit -m "Start"`.'
        )
    if not repository.ask("rev-parse", "--verify", "--quiet", "HEAD"):
        raise HeadstartError(
            f"This command reads commits, and the git repository of {folder} has none. Run "
            '`git add --all` and `git commit -m "Start"`.'
        )


def read_parameters(file: Path = PARAMS) -> Any:
    """Return all sections of a parameter file, after a check."""
    from headstart.stage.parameters import read_params

    return read_params(file)


class StageFiles:
    """Paths of the stages' files, by the options of their commands in dvc.yaml."""

    def __init__(self, root: Path) -> None:
        from headstart.pipeline import graph
        from headstart.pipeline.plan import options

        self._root = root
        self._options = {stage.name: options(stage) for stage in graph.stages(root)}

    def __call__(self, stage: str, option: str) -> Path:
        """Return the path of an option: ``files("evaluate", "metrics")``.

        Raises
        ------
        WiringError
            If dvc.yaml has no such stage or option.
        """
        found = self.of(stage)
        if option not in found:
            raise WiringError(
                f"The command of the stage `{stage}` in dvc.yaml lacks "
                f"--{option.replace('_', '-')}, which names a file that this command needs. "
                f"{upgrade_hint(self._root)}"
            )
        return found[option]

    def of(self, stage: str) -> Mapping[str, Path]:
        """Return the paths of all options of a stage."""
        if stage not in self._options:
            raise WiringError(
                f"dvc.yaml has no stage `{stage}`, and this command looks for its files. Stages "
                f"of this pipeline: {', '.join(self._options)}. {upgrade_hint(self._root)}"
            )
        return {name: Path(value) for name, value in self._options[stage].items()}

    def existing(self, stage: str, *options: str) -> list[Path]:
        """Return the paths of some options, which must exist.

        Raises
        ------
        HeadstartError
            If one of them does not exist yet.
        """
        paths = [self(stage, option) for option in options]
        for path in paths:
            if not path.exists():
                raise HeadstartError(
                    f"There is no {path} yet. Run the pipeline first: `dvc repro`."
                )
        return paths


def browse(path: Path) -> None:
    """Open a file in the browser.

    Raises
    ------
    HeadstartError
        If no browser can be started.
    """
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        raise HeadstartError(f"No browser could be started. Open {path.resolve()} yourself.")


def written(path: Path, *, show: bool) -> None:
    """Report a file that was written, and open it in the browser if ``show`` is set."""
    typer.echo(f"Written: {path}")
    if show:
        browse(path)

"""A stage's command line, derived from the signature of its ``main``.

``main`` declares what it needs by annotations, and nothing is said twice:

* ``In``: a file or folder that is read. Hashed before and after the run, because DVC hashes
  dependencies only when the command has ended and would record a changed one with the old result.
* ``Out``: a file or folder that is written.
* ``Runtime``: runtime.txt. The installed versions must be the ones it names.
* ``Journal``: where the run leaves its counters and seconds. Neither read nor tracked by DVC.
* ``Page``: a page for people, with all parameters to show. Written; not tracked by DVC.
* a section of params.yaml, by the argument's name, or ``seed``.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from headstart._utils.errors import HeadstartError, InputChangedError
from headstart._utils.files import Snapshot
from headstart.stage import versions, watchdog
from headstart.stage.page import Page
from headstart.stage.parameters import read_params, sections
from headstart.stage.run_statistics import RunStatistics

In = Annotated[Path, "in"]
Out = Annotated[Path, "out"]
Runtime = Annotated[Path, "runtime"]

_HELP = {
    "in": "read; a file or folder",
    "out": "written; replaced if it exists",
    "runtime": "list of the package versions that decide the result's bytes",
    "run_statistics": "folder for seconds and counters of this run (not tracked)",
    "page": "written for people to look at (not tracked)",
}


_DVC_REMOVES = (
    "(DVC removed this stage's former outputs before it started it; `dvc checkout` brings the "
    "recorded ones back.)"
)


def run(main: Callable[..., None], argv: Sequence[str] | None = None) -> None:
    """Parse, check, run, check again; exit with a message on failure."""
    try:
        _run(main, argv)
    except HeadstartError as error:
        print(f"\nError: {error}", file=sys.stderr)
        if "DVC_STAGE" in os.environ and error.exit_code == HeadstartError.exit_code:
            print(_DVC_REMOVES, file=sys.stderr)
        leave(error.exit_code)
    except BrokenPipeError:  # Whoever read our lines has left: `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(141)
    except KeyboardInterrupt:
        print("\nInterrupted. What was finished is recorded; run again to go on.", file=sys.stderr)
        leave(130)
    leave(0)


def leave(code: int) -> None:
    """End the process at once when TensorFlow is loaded: its own teardown takes a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        os._exit(code)
    sys.exit(code)


def kinds(main: Callable[..., None]) -> dict[str, str]:
    """For each argument of ``main``: in, out, runtime, run statistics, page or params."""
    hints = typing.get_type_hints(main, include_extras=True)
    found = {}
    for name in inspect.signature(main).parameters:
        hint = hints[name]
        if hint is RunStatistics:
            found[name] = "run_statistics"
        elif hint is Page:
            found[name] = "page"
        elif typing.get_origin(hint) is Annotated and hint.__metadata__[0] in _HELP:
            found[name] = hint.__metadata__[0]
        elif name == "seed" or name in sections():
            found[name] = "params"
        else:
            raise TypeError(f"{main.__module__}.main: argument {name!r} is of no known kind")
    return found


def parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    """The argument parser of a stage; its help is the module's docstring."""
    module = sys.modules[main.__module__]
    spec = module.__spec__
    built = argparse.ArgumentParser(
        prog=f"python -m {spec.name if spec else main.__module__}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind in kinds(main).items():
        if kind != "params":
            option = "--" + name.replace("_", "-")
            built.add_argument(option, type=Path, required=True, metavar="PATH", help=_HELP[kind])
    built.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="PATH",
        help="parameter file (default: params.yaml)",
    )
    return built


def _run(main: Callable[..., None], argv: Sequence[str] | None) -> None:
    options = vars(parser(main).parse_args(argv))
    params = read_params(options["params"])
    roles = kinds(main)
    arguments: dict[str, Any] = {}
    for name, kind in roles.items():
        arguments[name] = getattr(params, name) if kind == "params" else options[name]
        if kind == "page":
            arguments[name] = Page(options[name], params.model_dump())
    inputs = [options[name] for name, kind in roles.items() if kind in {"in", "runtime"}]
    outputs = [options[name] for name, kind in roles.items() if kind == "out"]
    for name, kind in roles.items():
        if kind == "runtime":
            versions.check(options[name])
    watchdog.die_with_dvc()
    journal_name = next((name for name, kind in roles.items() if kind == "run_statistics"), None)
    stage = main.__module__ if main.__module__ != "__main__" else _module_name(main)
    with watchdog.outputs_locked(outputs), unchanged(inputs):
        if journal_name is None:
            main(**arguments)
            return
        with RunStatistics.open(options[journal_name], stage.rsplit(".", 1)[-1]) as run_statistics:
            arguments[journal_name] = run_statistics
            main(**arguments)


def _module_name(main: Callable[..., None]) -> str:
    spec = sys.modules[main.__module__].__spec__
    return spec.name if spec else Path(inspect.getfile(main)).stem


@contextmanager
def unchanged(inputs: Sequence[Path]) -> Iterator[None]:
    """Hash the inputs, run the block, make sure that they are the same.

    Raises
    ------
    HeadstartError
        If an input is absent at the start.
    InputChangedError
        If one is not what it was at the start.
    """
    for path in inputs:
        if not path.exists():
            raise HeadstartError(
                f"The input {path} does not exist. Run the stage that makes it first "
                "(`dvc repro` runs them in order)."
            )
    before = [Snapshot(path) for path in inputs]
    yield
    for snapshot in before:
        if not snapshot.holds():
            raise InputChangedError(
                f"The input {snapshot.path} changed while the stage ran, so its result belongs to "
                "neither version. Nothing was recorded. Run again, and leave the file alone "
                "meanwhile."
            )

"""The command line of a stage, derived from the signature of its ``main``.

``main`` declares what it needs by annotations:

* ``In``: a file or folder that is read. Hashed before and after the run, and compared with what DVC
  has recorded of it.
* ``LazyIn``: the same, but each file is hashed when it is first opened, so that what this run does
  not read costs nothing.
* ``Out``: a file or folder that is written.
* ``Runtime``: runtime.txt. The installed versions must be the ones that it names.
* ``RunStatistics``: the folder where the run leaves its counters and seconds. Neither read nor
  tracked by DVC.
* ``Page``: a page for people, with all parameters to show. Written; not tracked by DVC.
* ``DownloadLocation``: the same as ``In``, but the path is the parameter ``download.location``. It
  is not an option, because DVC's shell would run whatever the parameter contains.
* ``Cluster``: the parameter ``extract_features.cluster``, to which DVC pays no attention: where
  features are computed decides no bytes.
* a section of params.yaml, by the argument's name, or ``seed``.
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, NoReturn

from headstart._utils import faults, locks
from headstart._utils.errors import HeadstartError, WiringError, chain
from headstart._utils.files import sha256_bytes, sweep
from headstart._utils.streams import print_anything
from headstart.stage import space, versions, watchdog
from headstart.stage.cures import with_cure
from headstart.stage.inputs import missing_source, unchanged
from headstart.stage.page import Page
from headstart.stage.parameters import read_params, sections
from headstart.stage.recorded_inputs import recorded_inputs
from headstart.stage.run_statistics import RunStatistics

In = Annotated[Path, "in"]
LazyIn = Annotated[Path, "lazy"]
DownloadLocation = Annotated[Path, "parameter", "download.location"]
Out = Annotated[Path, "out"]
Runtime = Annotated[Path, "runtime"]
Cluster = Annotated[str | None, "value", "extract_features.cluster"]

#: The kinds of arguments that are paths, with their help.
_HELP = {
    "in": "read; a file or folder",
    "lazy": "read if needed; a file or folder",
    "out": "written; replaced if it exists",
    "runtime": "list of the package versions that decide the result's bytes",
    "run_statistics": "folder for seconds and counters of this run (not tracked)",
    "page": "written for people to look at (not tracked)",
}
#: The kind of an argument that is a path among the parameters.
_PARAMETER = "parameter"
#: The kind of an argument that is one value of the parameters.
_VALUE = "value"
_KINDS = {*_HELP, _PARAMETER, _VALUE}
_RECORDS: dict[Any, str] = {RunStatistics: "run_statistics", Page: "page"}

_DVC_REMOVES = (
    "(DVC removed this stage's former outputs before it started it; `dvc checkout` brings the "
    "recorded ones back.)"
)


def run(main: Callable[..., None], argv: Sequence[str] | None = None) -> None:
    """Parse, check, run, check again; exit with a message on failure."""
    print_anything()
    try:
        _run(main, argv)
    except BrokenPipeError:  # The reader of our lines has ended: `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(141)
    except (Exception, KeyboardInterrupt) as error:
        if _interrupted(error):
            said = "\nInterrupted. Finished work is recorded; run again to resume."
            print(said, file=sys.stderr)
            leave(130)
        if isinstance(error, HeadstartError):
            _fail(error, _copy_hint(main, argv))
        raise
    leave(0)


def _interrupted(error: BaseException) -> bool:
    """Return True if Ctrl-C is behind an error: a module that it met while it was imported."""
    return any(isinstance(each, KeyboardInterrupt) for each in chain(error))


def _copy_hint(main: Callable[..., None], argv: Sequence[str] | None) -> str:
    """Return what to do if a source lacks its images in a copy that DVC made for an experiment."""
    copy = Path.cwd().parts
    if "exps" not in copy or ".dvc" not in copy or _PARAMETER not in kinds(main).values():
        return ""
    try:
        location = read_params(vars(parser(main).parse_args(argv))["params"]).download.location
    except HeadstartError:
        return ""
    if Path(location).is_absolute():
        return ""
    original = Path(*copy[: copy.index(".dvc")], location)
    return (
        f"\nThis stage ran in a copy of the project, which `dvc exp run --queue` and `--temp` make "
        f"of what git and DVC track: images in {location} that neither tracks are not in it. Two "
        f"ways work: an absolute location (`dvc exp run --queue -S download.location={original}`), "
        "or an experiment that starts after this stage (`dvc exp run --queue --downstream split`)."
    )


def _fail(error: HeadstartError, hint: str = "") -> NoReturn:
    print(f"\nError: {with_cure(error)}{hint}", file=sys.stderr)
    if "DVC_STAGE" in os.environ and error.exit_code == HeadstartError.exit_code:
        print(_DVC_REMOVES, file=sys.stderr)
    leave(error.exit_code)


def leave(code: int) -> NoReturn:
    """End the process, at once when TensorFlow is loaded: its own teardown takes a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        os._exit(code)
    sys.exit(code)


def kinds(main: Callable[..., None]) -> dict[str, str]:
    """Return for each argument of ``main`` a key of the kinds of paths, or ``params``.

    Raises
    ------
    WiringError
        If an argument is neither a path nor a section of params.yaml.
    """
    hints: dict[str, Any] = typing.get_type_hints(main, include_extras=True)
    found = {}
    for name in inspect.signature(main).parameters:
        hint = hints.get(name, inspect.Parameter.empty)
        if hint in _RECORDS:
            found[name] = _RECORDS[hint]
        elif typing.get_origin(hint) is Annotated and hint.__metadata__[0] in _KINDS:
            found[name] = hint.__metadata__[0]
        elif name == "seed" or name in sections():
            found[name] = "params"
        else:
            raise WiringError(
                f"The argument `{name}` of `main` in {_module_name(main)} must be annotated with "
                "In, LazyIn, DownloadLocation, Out, Runtime, RunStatistics, Page or Cluster, or be "
                f"named after a section of params.yaml ({', '.join(['seed', *sections()])}). "
                "Nothing was run. A section is a class in headstart/ROOM/parameters.py: "
                "SplitParams configures `split`."
            )
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WiringError(
            f"The command does not fit the arguments of `main`: {message}. Nothing was run. "
            f"`dvc repro --single-item {self.prog.rpartition('.')[2]}` runs the stage with the "
            f"options of dvc.yaml, and `{self.prog} --help` lists them. If dvc.yaml ran this, "
            "correct the `cmd` of the stage there."
        )


def parser(main: Callable[..., None]) -> argparse.ArgumentParser:
    """Return the argument parser of a stage; its help is the module's docstring."""
    built = _Parser(
        prog=f"python -m {_module_name(main)}",
        description=sys.modules[main.__module__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, kind in kinds(main).items():
        if kind in _HELP:
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
    arguments = vars(parser(main).parse_args(argv))
    faults.check()
    params = read_params(arguments.pop("params"))
    roles = kinds(main)
    hints = typing.get_type_hints(main, include_extras=True)
    for name in [name for name, role in roles.items() if role == _PARAMETER]:
        arguments[name] = Path(attrgetter(hints[name].__metadata__[1])(params))
        if not arguments[name].exists():
            raise missing_source(arguments[name])
        roles[name] = "in"
    paths = {kind: [arguments[n] for n, role in roles.items() if role == kind] for kind in _HELP}
    for path in paths["runtime"]:
        versions.check(path)
    watchdog.die_with_dvc()
    with ExitStack() as stack:
        stack.enter_context(_disk_fault_explained(paths["out"]))
        space.require_recorded_space(paths["out"])
        if paths["out"]:
            stack.enter_context(_lock(paths["out"]))
            for path in paths["out"]:
                sweep(path, exclusive=True)
        recorded = recorded_inputs([*paths["in"], *paths["lazy"]])
        stack.enter_context(unchanged([*paths["in"], *paths["runtime"]], paths["lazy"], recorded))
        for name, kind in roles.items():
            if kind in {"params", _VALUE}:
                place = name if kind == "params" else hints[name].__metadata__[1]
                arguments[name] = attrgetter(place)(params)
            elif kind == "page":
                arguments[name] = Page(arguments[name], params.model_dump())
            elif kind == "run_statistics":
                stage = _module_name(main).rsplit(".", 1)[-1]
                statistics = RunStatistics.open(arguments[name], stage)
                arguments[name] = stack.enter_context(statistics)
        main(**arguments)
        space.require_cache_space(paths["out"])


@contextmanager
def _disk_fault_explained(outputs: Sequence[Path]) -> Iterator[None]:
    """Turn the many errors of a full or failing disk into one message."""
    try:
        yield
    except Exception as error:
        explained = space.explained(error, outputs)
        if explained is None:
            raise
        raise explained from error


def _module_name(main: Callable[..., None]) -> str:
    spec = sys.modules[main.__module__].__spec__
    if spec:
        return spec.name
    return main.__module__ if main.__module__ != "__main__" else Path(inspect.getfile(main)).stem


def _lock(outputs: Sequence[Path]) -> AbstractContextManager[None]:
    """Return a lock named by the outputs' absolute paths; it waits if another run holds it."""
    # Machines and containers may share the cache folder and use these paths for other files.
    name = "\n".join([platform.node(), *sorted(str(path.absolute()) for path in outputs)])
    digest = sha256_bytes(name.encode("utf-8", "surrogateescape"))[:16]
    busy = f"Another run (process {{holder}}) is writing {outputs[0]}. Waiting for it to end …"
    return locks.exclusive_lock(locks.lock_folder() / f"{digest}.lock", busy)

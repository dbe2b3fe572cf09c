"""dvc.lock in one order, whichever stage finished first; and one run at a time in a folder.

DVC appends a stage's first record to the file. With stages side by side, the order of the records
would be the order in which they ended, and two runs of one commit would differ in it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.utils.serialize import dumps_yaml, load_yaml, parse_yaml_for_update

from headstart._utils.errors import HeadstartError
from headstart._utils.files import write_text
from headstart._utils.locks import exclusive_lock
from headstart.pipeline import graph
from headstart.pipeline.graph import locked

if sys.platform != "win32":
    import fcntl

_HOLDER_BYTES = 200


@contextlib.contextmanager
def in_order(root: Path) -> Iterator[None]:
    """Run a block; then put records that are new into the order in which `dvc repro` makes them.

    Records that were there before the block keep their places, as DVC does it.

    Parameters
    ----------
    root : Path
        The project's folder.
    """
    order = {file: [*names(root / file), *wanted] for file, wanted in graph.sequence(root).items()}
    try:
        yield
    except BaseException:
        # A run that is being ended does not wait for the lock.
        with contextlib.suppress(HeadstartError, DvcException):
            _sort(root, order, wait=False)
        raise
    _sort(root, order, wait=True)


def _sort(root: Path, order: Mapping[str, Sequence[str]], *, wait: bool) -> None:
    if all(names(root / file) == _arranged(root / file, order[file]) for file in order):
        return
    with locked(root, wait=wait):
        for file, wanted in order.items():
            arrange(root / file, wanted)


def names(path: Path) -> list[str]:
    """Return the stages in a dvc.lock, in its order; none if there is no such file."""
    return list(load_yaml(path).get("stages") or ()) if path.exists() else []


def _arranged(path: Path, order: Sequence[str]) -> list[str]:
    return sorted(names(path), key=[*order, *names(path)].index)


def arrange(path: Path, order: Sequence[str]) -> None:
    """Put the records of a dvc.lock into the given order; the others follow as they are.

    The file is replaced atomically, in DVC's own layout, and keeps its mode.

    Parameters
    ----------
    path : Path
        A dvc.lock.
    order : sequence of str
        Names of stages; of a name that comes twice, the first place counts.
    """
    wanted = _arranged(path, order)
    if wanted == names(path):
        return
    lock = parse_yaml_for_update(path.read_text(encoding="utf-8"), path)
    for name in wanted:
        lock["stages"].move_to_end(name)
    mode = path.stat().st_mode
    write_text(path, dumps_yaml(lock))
    path.chmod(mode & 0o777)


@contextlib.contextmanager
def exclusive_run(
    root: Path, who: str, say: Callable[[str], None], stop: threading.Event
) -> Iterator[None]:
    """Hold the project for one run; if another run holds it, say which, and wait.

    Parameters
    ----------
    root : Path
        The project's folder.
    who : str
        The text that another run reads about this one.
    say : callable
        Called once with a sentence if there is something to wait for.
    stop : threading.Event
        Ends the waiting.

    Raises
    ------
    HeadstartError
        If the folder is not a project, the lock cannot be used, or the waiting was ended.
    """
    folder = root / ".dvc" / "tmp"
    try:
        folder.mkdir(exist_ok=True)  # not .dvc itself: that would make a project of any folder
    except FileNotFoundError:
        raise graph.not_initialized(root) from None
    with exclusive_lock(
        folder / "headstart-run.lock",
        "Another run is at work here ({holder}). Waiting for it to end …",
        holder=f"process {os.getpid()}, {who}",
        say=say,
        cancelled=stop.is_set,
    ):
        yield


def holder(root: Path) -> int | None:
    """Return the process that holds DVC's lock of the project; None if nobody does, or knows."""
    path = root / ".dvc" / "tmp" / "lock"
    if sys.platform == "win32":
        return None
    try:
        with path.open("rb") as file:
            try:
                # Shared and for an instant: DVC tries again if it meets us.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read(_HOLDER_BYTES))
            return None
    except (OSError, ValueError):
        return None

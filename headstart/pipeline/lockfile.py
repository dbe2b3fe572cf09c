"""dvc.lock in one order, whichever stage finished first; and one run at a time in a folder.

DVC appends a stage's first record to the file. With stages side by side, the order of the records
would be the order in which they ended, and two runs of one commit would differ in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_file
from headstart._utils.locks import exclusive_lock
from headstart.pipeline import graph
from headstart.pipeline.graph import locked

if sys.platform != "win32":
    import fcntl

_KEY = re.compile(r"  (?=[^\s#-])")  # a stage's line; all that is deeper belongs to it
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
    order = {
        file: [*names(_read(root / file)), *wanted] for file, wanted in graph.sequence(root).items()
    }
    try:
        yield
    except BaseException:
        with contextlib.suppress(
            HeadstartError
        ):  # a run that is being ended does not wait for the lock
            _sort(root, order, wait=False)
        raise
    _sort(root, order, wait=True)


def _sort(root: Path, order: Mapping[str, Sequence[str]], *, wait: bool) -> None:
    if not list(_to_write(root, order)):
        return
    with locked(root, wait=wait):
        for path, arranged in _to_write(root, order):
            _rewrite(path, arranged)


def _to_write(root: Path, order: Mapping[str, Sequence[str]]) -> Iterator[tuple[Path, str]]:
    """Yield the files that are not in their order, with what they should hold."""
    for file, wanted in order.items():
        text = _read(root / file)
        arranged = arrange(text, wanted)
        if arranged != text:
            yield root / file, arranged


def _rewrite(path: Path, text: str) -> None:
    """Replace a file atomically; it keeps its mode."""
    mode = path.stat().st_mode & 0o777
    with atomic_file(path) as file:
        file.write(text.encode())
        Path(file.name).chmod(mode)


def names(text: str) -> list[str]:
    """Return the stages in a dvc.lock, in its order."""
    return [_name(block) for block in _blocks(text)[1]]


def arrange(text: str, order: Sequence[str]) -> str:
    """Return the same records in the given order, byte for byte; the others follow as they are.

    Parameters
    ----------
    text : str
        A dvc.lock.
    order : sequence of str
        Names of stages; of a name that comes twice, the first place counts.
    """
    head, blocks, tail = _blocks(text)
    place = {name: number for number, name in reversed(list(enumerate(order)))}
    blocks.sort(key=lambda block: place.get(_name(block), len(order)))
    return "".join([head, *blocks, tail])


def _blocks(text: str) -> tuple[str, list[str], str]:
    """Return what stands before the stages, each stage's lines, and what stands after them."""
    lines = text.splitlines(keepends=True)
    start = next((i + 1 for i, line in enumerate(lines) if line.rstrip() == "stages:"), len(lines))
    end = next((i for i in range(start, len(lines)) if re.match(r"\S", lines[i])), len(lines))
    blocks: list[str] = []
    for line in lines[start:end]:
        if _KEY.match(line):
            blocks.append(line)
        elif blocks:
            blocks[-1] += line
        else:
            return text, [], ""  # not DVC's own layout: nothing is moved
    return "".join(lines[:start]), blocks, "".join(lines[end:])


def _name(block: str) -> str:
    return block.split("\n", 1)[0].strip().removesuffix(":").strip("'\"")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""


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
        What another run reads about this one.
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
        raise graph.not_a_project(root) from None
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

"""dvc.lock in one order, whatever finished first; and one run at a time in a folder.

DVC appends a stage's first record where it finds the end of the file: with stages side by side, the
order of the records would be that of their ends, and two runs of one commit would differ in it.
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
from headstart.pipeline import graph
from headstart.pipeline.dvc_project import locked

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
        with contextlib.suppress(HeadstartError):  # who is ended does not wait for the lock
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
    """The files that are not in their order, with what they should hold."""
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
    """The stages in a dvc.lock, in its order."""
    return [_name(block) for block in _blocks(text)[1]]


def arrange(text: str, order: Sequence[str]) -> str:
    """The same records in the given order, byte for byte; those not in it stay behind, as they are.

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
    """What stands before the stages, each stage's lines, and what stands after them."""
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
            return text, [], ""  # not as DVC writes it: nothing is moved
    return "".join(lines[:start]), blocks, "".join(lines[end:])


def _name(block: str) -> str:
    return block.split("\n", 1)[0].strip().removesuffix(":").strip("'\"")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def alone(
    root: Path, who: str, say: Callable[[str], None], stop: threading.Event
) -> Iterator[None]:
    """Hold the project for one run; if another has it, say which, and wait.

    The kernel frees it however its holder ends. On Windows nobody waits: there, DVC's own locks
    have to do.

    Parameters
    ----------
    root : Path
        The project's folder.
    who : str
        What another run is told of this one.
    say : callable
        Called once with a sentence, if there is something to wait for.
    stop : threading.Event
        Ends the waiting.

    Raises
    ------
    HeadstartError
        If the lock cannot be used, or the waiting was ended.
    """
    if sys.platform == "win32":
        yield
        return
    path = root / ".dvc" / "tmp" / "headstart-run.lock"
    try:
        path.parent.mkdir(exist_ok=True)  # not .dvc itself: that would make a project of any folder
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        raise HeadstartError(
            f"{root} is no DVC project. Nothing was run. Run from the project's folder; in a new "
            "copy without a .dvc folder, run `dvc init` first."
        ) from None
    except OSError as error:
        raise HeadstartError(
            f"The lock {path} cannot be opened: {error.strerror}. Nothing was run. Make the "
            "project's .dvc folder writable, then run again."
        ) from error
    try:
        _take(descriptor, say, stop)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}, {who}".encode()[:_HOLDER_BYTES], 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, say: Callable[[str], None], stop: threading.Event) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                holder = os.pread(descriptor, _HOLDER_BYTES, 0).decode("utf-8", "replace")
                say(f"Another run is at work here ({holder or 'unknown'}). Waiting for its end …")
                told = True
            if stop.wait(0.5):
                raise HeadstartError(
                    "Stopped while waiting for another run. Nothing was run."
                ) from None
        else:
            return


def holder(root: Path) -> int | None:
    """The process that holds DVC's lock of the project now; None: nobody does, or knows."""
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

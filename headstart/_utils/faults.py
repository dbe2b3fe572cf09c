"""Faults on purpose, for tests: ``HEADSTART_FAULT=POINT:N:ACTION`` strikes one step of one write.

The N-th time that this process reaches the step POINT of an atomic write, ACTION happens: ``kill``
(SIGKILL to the process), ``enospc`` (a full disk) or ``eio`` (a failing disk). ``any`` counts all
steps. Without the variable, nothing is counted and nothing is wrapped.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO, cast

from headstart._utils.errors import WiringError

VARIABLE = "HEADSTART_FAULT"
#: The steps of a write, in their order: of a file, of a folder, of the feature store.
POINTS = {
    "open": "before the file beside the target is opened",
    "bytes": "when half of the first bytes are written",
    "fsync": "when all bytes are written, before they are synced",
    "rename": "before the file is renamed to its target",
    "renamed": "after the file was renamed",
    "folder": "when the empty folder beside the target was made",
    "member": "before a file in that folder is written by other means than these steps",
    "swap": "when the folder is complete, and the old one is in its place",
    "swapped": "when the old folder is aside, before the new one is renamed",
    "placed": "after the folder was renamed",
    "commit": "before a batch of features is committed to the store",
    "committed": "after it was committed",
}
ANY = "any"
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
ACTIONS = ("kill", *_ERRORS)
#: Points at which an error names the file, as ``open`` and ``rename`` do and ``write`` does not.
_NAMED = {"open", "rename", "member", "commit"}

_reached: Counter[str] = Counter()
_counting = threading.Lock()


def check() -> None:
    """Check the variable, before a stage does any work.

    Raises
    ------
    WiringError
        If it is set and not ``POINT:N:ACTION``.
    """
    if VARIABLE in os.environ:
        _parsed(os.environ[VARIABLE])


def reached(point: str, target: Path) -> None:
    """Note that a write of ``target`` has reached a point; strike there if it is the one.

    Raises
    ------
    OSError
        The fault that was asked for.
    """
    if VARIABLE not in os.environ:
        return
    wanted, number, action = _parsed(os.environ[VARIABLE])
    with _counting:
        _reached.update((point, ANY))
        count = _reached[wanted]
    if wanted in {point, ANY} and count == number:
        _strike(point, f"{point}:{count}:{action}", action, target)


def open_file(path: Path, target: Path) -> BinaryIO:
    """Open a binary file for a write of ``target``, with a point in the middle of its bytes."""
    if VARIABLE not in os.environ:
        return path.open("wb")
    return cast("BinaryIO", _Halved(path, target))


class _Halved(io.BufferedWriter):
    """A file whose first write stops in its middle."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._target: Path | None = target

    def write(self, content: Any, /) -> int:
        target, self._target = self._target, None
        if target is None:
            return super().write(content)
        parts = memoryview(content).cast("B")
        half = super().write(parts[: len(parts) // 2])
        self.flush()
        reached("bytes", target)
        return half + super().write(parts[half:])


def _strike(point: str, what: str, action: str, target: Path) -> None:
    os.write(2, f"{VARIABLE}: {what} at {target}\n".encode("utf-8", "surrogateescape"))
    if action == "kill":
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    error = OSError(_ERRORS[action], os.strerror(_ERRORS[action]))
    if point in _NAMED:
        error.filename = os.fspath(target)
    raise error


def _parsed(text: str) -> tuple[str, int, str]:
    point, _, rest = text.partition(":")
    number, _, action = rest.partition(":")
    if point not in {*POINTS, ANY} or action not in ACTIONS or not _NUMBER.fullmatch(number):
        raise WiringError(
            f"The environment variable {VARIABLE} must be POINT:N:ACTION, such as rename:1:kill. "
            f"Got {text[:80]!r} instead. POINT is one of {', '.join([*POINTS, ANY])}; N counts "
            f"from 1; ACTION is one of {', '.join(ACTIONS)}. Nothing was run. It is for tests: "
            f"`unset {VARIABLE}` runs without a fault."
        )
    return point, int(number), action

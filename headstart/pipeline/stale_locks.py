"""Locks that killed commands left behind, and that stop every later command.

DVC and git clear most of them by themselves; these are the ones that they do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headstart.pipeline.git import Repository

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class StaleLock:
    """A lock that nobody holds; ``why`` is the end of a sentence that begins with its path."""

    path: Path
    why: str


def stale_locks(root: Path) -> Iterator[StaleLock]:
    """Yield the locks of a project's folder that can be removed."""
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    fault = _fault_of_rwlock(rwlock)
    if fault:
        yield StaleLock(rwlock, fault)
    inside = Repository(root).ask("rev-parse", "--absolute-git-dir")
    index = Path(inside, "index.lock") if inside else None
    if index is not None and index.exists() and not _runs("git"):
        yield StaleLock(index, "is the lock of git's index, and no git is running")


def _fault_of_rwlock(path: Path) -> str:
    """Return what is wrong with DVC's list of paths in use; "" if nothing is.

    DVC removes a process that has ended, unless another process has its number by now.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MOST_BYTES) or b"{}")
        holders = list(_holders(content))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "is DVC's list of paths in use, and it is damaged"
    for pid, command in holders:
        if psutil.pid_exists(pid) and not _is_dvc(pid):
            return f"names process {pid} (`{command}`), which is another program now"
    return ""


def _holders(content: Any) -> Iterator[tuple[int, str]]:
    for info in content.get("write", {}).values():
        yield int(info["pid"]), str(info["cmd"])
    for infos in content.get("read", {}).values():
        for info in infos:
            yield int(info["pid"]), str(info["cmd"])


def _is_dvc(pid: int) -> bool:
    """Return whether a process may be a DVC; True if nobody can tell."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return True
    return not words or any(
        name in word for word in words for name in ("dvc", "headstart", "prefect", "python")
    )


def _runs(program: str) -> bool:
    names = (process.info["name"] for process in psutil.process_iter(["name"]))
    return any((name or "").removesuffix(".exe") == program for name in names)

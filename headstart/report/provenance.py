"""The commit that a run was made from, as far as git knows one."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

_SECONDS = 20  # a tree on a slow disk; then the page does without
#: What the run itself has written when the page is made.
_WRITTEN = (":(exclude)data", ":(exclude)dvc.lock")
_SHOWN = 12


@dataclass(frozen=True)
class Commit:
    """A commit, and what in the tree was not in it.

    Attributes
    ----------
    sha : str
        40 hexadecimal digits.
    subject : str
        First line of its message.
    changed : tuple of str
        Tracked files that differed from it, without the run's own; at most 12.
    more : int
        How many more there were.
    """

    sha: str
    subject: str
    changed: tuple[str, ...]
    more: int


def commit() -> Commit | None:
    """The commit of the current folder; None without git, without a repository, or without one."""
    head = _git("log", "-1", "--format=%H%n%s")
    status = _git(
        "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", ".",
        *_WRITTEN,
    )  # fmt: skip
    if head is None or status is None:
        return None
    sha, _, subject = head.partition("\n")
    changed = [line[3:] for line in status.split("\0") if line]
    return Commit(
        sha.strip(), subject.strip(), tuple(changed[:_SHOWN]), max(0, len(changed) - _SHOWN)
    )


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            # Looking must not take the lock that a commit by someone else needs.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

"""What git knows of a project: its commits, their files, its tags. Read, and never written."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headstart.pipeline.errors import FlowError


class RevisionError(FlowError):
    """A revision is unknown, or git cannot be asked."""


@dataclass(frozen=True)
class Commit:
    """A commit of a project.

    Attributes
    ----------
    sha, subject, date : str
        ``date`` is the committer's, ISO 8601.
    root : Path
        The project's folder in the checkout that was asked.
    prefix : str
        The project's folder inside of the repository: "" or with ``/`` at the end.
    """

    sha: str
    subject: str
    date: str
    root: Path
    prefix: str

    def __str__(self) -> str:
        return f"{self.sha[:12]} ({self.subject})" if self.subject else self.sha[:12]


def git(folder: Path, *words: str, check: bool = True) -> str:
    """What git prints; "" if it fails and ``check`` is off.

    Raises
    ------
    RevisionError
        If there is no git, or it fails.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder, env=surroundings(), capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise RevisionError(
            "There is no `git` on the path, and only git knows commits. Install git."
        ) from None
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "surrogateescape")
    if not check:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip()
    raise RevisionError(f"git could not do what was asked in {folder}: {said}")


def surroundings() -> dict[str, str]:
    """Variables for git: none that name another repository; no question; no lock, so no write."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    kept = {name: os.environ[name] for name in _CONFIGURE if name in os.environ}
    return {**ours, **kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


_CONFIGURE = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


def commit(root: Path, rev: str) -> Commit:
    """The commit that a revision names.

    Raises
    ------
    RevisionError
        If ``root`` is in no git repository, or the revision is unknown.
    """
    if not git(root, "rev-parse", "--git-dir", check=False):
        said = _said(root)
        raise RevisionError(
            f"{root} is in no git repository{said}, so there is no commit to read. Run from the "
            "project's folder; `git init`, `git add` and `git commit` make a first one."
        )
    name = f"{rev}^{{commit}}"
    sha = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", name, check=False)
    if not sha.strip():
        shallow = git(root, "rev-parse", "--is-shallow-repository", check=False).strip() == "true"
        hint = (
            "This clone is shallow, so it lacks older commits: `git fetch --unshallow` brings them."
            if shallow
            else "`git log --oneline` lists commits; `git fetch --tags` brings those of the remote."
        )
        raise RevisionError(f"There is no commit {rev!r} in this repository. {hint}")
    sha = sha.strip()
    words = ("show", "--no-patch", "--no-show-signature", "--format=%s%n%cI", sha)
    # Not splitlines(), for which a subject may have several.
    subject, date = _printable(git(root, *words)).split("\n")[:2]
    prefix = git(root, "rev-parse", "--show-prefix").removesuffix("\n")
    return Commit(sha, subject, date, root, prefix)


def _printable(text: str) -> str:
    """Without the bytes that are no UTF-8, which no terminal and no certificate would take."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _said(root: Path) -> str:
    """Why git refuses a folder that looks like a repository; "" if it does not."""
    try:
        git(root, "rev-parse", "--git-dir")
    except RevisionError as error:
        return "" if "not a git repository" in str(error) else f" that git would open ({error})"
    return ""


def content(found: Commit, path: str) -> bytes | None:
    """A file of the commit, by its path in the project; None if the commit has none there."""
    name = f"{found.sha}:{found.prefix}{path}"
    done = subprocess.run(
        ["git", "cat-file", "blob", name],
        cwd=found.root, env=surroundings(), capture_output=True, check=False,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else None


def uncommitted(root: Path) -> tuple[str, ...]:
    """Files of the project that git knows, and that differ from the newest commit."""
    words = ("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no", "--", ".")
    return tuple(entry[3:] for entry in _printable(git(root, *words)).split("\0") if entry)


def nearest_tag(root: Path, pattern: str) -> str | None:
    """The tag of that pattern that is nearest behind the current commit, or on it.

    Raises
    ------
    RevisionError
        If the clone is shallow: then a tag may be missing that there is.
    """
    if git(root, "rev-parse", "--is-shallow-repository").strip() == "true":
        raise RevisionError(
            "This clone is shallow, so it cannot be told which release came last. "
            "`git fetch --unshallow --tags` brings what is missing."
        )
    words = ("describe", "--tags", "--abbrev=0", f"--match={pattern}", "HEAD")
    return git(root, *words, check=False).strip() or None

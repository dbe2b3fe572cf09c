"""The git repository around a project, read without changing its branch, index or files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError

_NO_COMMIT = "0" * 40
# Variables with which a hook of another repository would redirect git.
_REDIRECTS = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG_PARAMETERS", "GIT_DIR",
    "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_WORK_TREE",
}  # fmt: skip
_NETWORK = {"fetch", "ls-remote", "push"}


class GitError(HeadstartError):
    """There is no git, no repository or no such commit, or git refused; the message says which."""


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
        The project's folder inside the repository: "" or with ``/`` at the end.
    """

    sha: str
    subject: str
    date: str
    root: Path
    prefix: str

    def __str__(self) -> str:
        return f"{self.sha[:12]} ({self.subject})" if self.subject else self.sha[:12]

    def content(self, path: str) -> bytes | None:
        """Return a file by its path in the project; None if the commit has none there."""
        return Repository(self.root).content(self.sha, path)


@dataclass(frozen=True)
class Repository:
    """The git repository around a project's folder.

    Parameters
    ----------
    root : Path
        The project's folder. Paths that go in and come out are relative to it, with ``/``.
    """

    root: Path

    def call(
        self,
        *words: str,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git in the project's folder, with any exit code.

        Parameters
        ----------
        *words : str
        stdin : str or None
            The command's standard input.
        environment : mapping or None
            Further variables.

        Raises
        ------
        GitError
            If git is not installed.
        """
        variables = {**self._environment(words[0]), **(environment or {})}
        if shutil.which("git") is None:
            raise GitError(
                "There is no `git` on the path, and the project's commits cannot be read without "
                "it. Nothing was run. Install git, then run again."
            )
        return subprocess.run(
            ["git", "--literal-pathspecs", *words], cwd=self.root, env=variables,
            input=None if stdin is None else stdin.encode("utf-8", "surrogateescape"),
            capture_output=True, check=False,
        )  # fmt: skip

    def git(self, *words: str, **options: Any) -> str:
        """Run git as :meth:`call` does, and return what it prints.

        Raises
        ------
        GitError
            If it ends with another code than 0.
        """
        done = self.call(*words, **options)
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "surrogateescape")
        said = _printable((done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace"))
        if said.startswith("fatal: not a git repository"):
            raise GitError(
                f"{self.root} is not in a git repository, so there is no commit to read or to add "
                "to. Nothing was run. Run from the project's folder; `git init`, `git add --all` "
                "and `git commit` make a repository with a first commit."
            )
        raise GitError(f"`git {' '.join(words[:2])}` in {self.root} failed: {said}")

    def ask(self, *words: str) -> str:
        """Return git's output, without the space around it; "" if it fails."""
        try:
            return self.git(*words).strip()
        except GitError:
            return ""

    def _environment(self, command: str) -> dict[str, str]:
        """Return variables that keep git from asking for passwords and from locking to read."""
        found = {name: value for name, value in os.environ.items() if name not in _REDIRECTS}
        found |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        # The variable would take precedence over the setting.
        if (
            command in _NETWORK
            and not {"GIT_SSH", "GIT_SSH_COMMAND"} & found.keys()
            and not self.ask("config", "core.sshCommand")
        ):
            found["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        return found

    def head(self) -> str:
        """Return the id of the checked-out commit.

        Raises
        ------
        GitError
            If there is no repository, or no commit in it.
        """
        self.git("rev-parse", "--git-dir")
        found = self.ask("rev-parse", "--verify", "--quiet", "HEAD")
        if not found:
            raise GitError(
                f"The git repository of {self.root} has no commit yet, and results are recorded as "
                "a commit on top of the one that was run. Nothing was run. Commit the project "
                "first: `git add --all`, `git commit`."
            )
        return found

    def commit(self, rev: str) -> Commit:
        """Return the commit that a revision names.

        Raises
        ------
        GitError
            If the folder is in no git repository, or the revision is unknown.
        """
        self.git("rev-parse", "--git-dir")
        name = f"{rev}^{{commit}}"
        sha = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        if not sha:
            hint = (
                "This clone is shallow, so it lacks older commits: `git fetch --unshallow` brings "
                "them."
                if self.shallow
                else "`git log --oneline` lists commits; `git fetch --tags` brings those of the "
                "remote."
            )
            raise GitError(f"There is no commit {rev!r} in this repository. {hint}")
        words = ("show", "--no-patch", "--no-show-signature", "--format=%s%n%cI", sha)
        # Not splitlines(), which would split a subject at other characters, too.
        subject, date = _printable(self.git(*words)).split("\n")[:2]
        prefix = self.git("rev-parse", "--show-prefix").removesuffix("\n")
        return Commit(sha, subject, date, self.root, prefix)

    @property
    def shallow(self) -> bool:
        """Return whether the clone lacks older commits."""
        return self.git("rev-parse", "--is-shallow-repository").strip() == "true"

    def nearest_tag(self, pattern: str) -> str | None:
        """Return the tag of a pattern that is nearest behind the current commit, or on it.

        Raises
        ------
        GitError
            If the clone is shallow: then a tag that exists may be missing.
        """
        if self.shallow:
            raise GitError(
                "This clone is shallow, so it does not show which release came last. "
                "`git fetch --unshallow --tags` brings what is missing."
            )
        return self.ask("describe", "--tags", "--abbrev=0", f"--match={pattern}", "HEAD") or None

    def changed(self) -> tuple[str, ...]:
        """Return tracked files that differ from the checked-out commit, staged or not."""
        return self._status("--untracked-files=no")

    def changed_among(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return which paths differ from the commit; new files count unless git ignores them."""
        return self._status("--untracked-files=all", "--", *paths) if paths else ()

    def _status(self, *words: str) -> tuple[str, ...]:
        printed = self.git("status", "--porcelain=v1", "-z", "--no-renames", *words)
        return self._from_here([entry[3:] for entry in printed.split("\0") if entry])

    def _from_here(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return paths below the repository's top, which may lie above the project's folder."""
        top = self.root / self.git("rev-parse", "--show-cdup").strip()
        return tuple(Path(os.path.relpath(top / path, self.root)).as_posix() for path in paths)

    def content(self, rev: str, path: str) -> bytes | None:
        """Return a file as it stands in a commit; None if it is not in it."""
        done = self.call("cat-file", "blob", f"{rev}:./{path}")
        return None if done.returncode else done.stdout

    def store(self, parent: str, paths: Sequence[str], message: str) -> str:
        """Store the present state of some files as a commit that no branch names yet.

        Parameters
        ----------
        parent : str
            The commit that it differs from in these files alone.
        paths : sequence of str
            Files; one that does not exist is left out of the commit.
        message : str

        Returns
        -------
        str
            Its id.
        """
        with self._index(parent) as index:
            self.git("add", "--all", "--force", "--", *paths, environment=index)
            tree = self.git("write-tree", environment=index).strip()
        words = ("commit-tree", tree, "-p", parent, "-F", "-")
        return self.git(*words, stdin=message, environment=self._identity()).strip()

    def _identity(self) -> Mapping[str, str]:
        """Return variables with an author and committer, where git's settings name none."""
        usual = {"name": "Headstart", "email": f"headstart@{socket.gethostname() or 'localhost'}"}
        return {
            variable: os.environ.get(variable, value)
            for part, value in usual.items()
            if not self.ask("config", f"user.{part}")
            for variable in (f"GIT_AUTHOR_{part.upper()}", f"GIT_COMMITTER_{part.upper()}")
        }

    def put_back(self, commit: str, paths: Iterable[str]) -> None:
        """Restore some files to their content in a commit; remove those that it does not have."""
        with self._index(commit) as index:
            for path in paths:
                if self.git("ls-files", "--", path, environment=index):
                    self.git("checkout-index", "--force", "--", path, environment=index)
                else:
                    (self.root / path).unlink(missing_ok=True)

    @contextmanager
    def _index(self, commit: str) -> Iterator[Mapping[str, str]]:
        """Yield the variable that puts another index, with a commit, in place of the checkout's."""
        with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
            index = {"GIT_INDEX_FILE": os.path.join(folder, "index")}  # noqa: PTH118 - a text
            self.git("read-tree", commit, environment=index)
            yield index

    def differing(self, one: str, other: str) -> tuple[str, ...]:
        """Return the files in which two commits differ."""
        printed = self.git("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other)
        return self._from_here(filter(None, printed.split("\0")))

    def branches(self, folder: str) -> Mapping[str, str]:
        """Return the branches under a folder, here and as last fetched: full name to commit."""
        printed = self.git(
            "for-each-ref", "--format=%(objectname) %(refname)",
            f"refs/heads/{folder}/", f"refs/remotes/origin/{folder}/",
        )  # fmt: skip
        return {name: sha for sha, name in (line.split(" ", 1) for line in printed.splitlines())}

    def new_branch(self, name: str, commit: str) -> None:
        """Create a branch at a commit; raise GitError if the branch exists."""
        self.git("update-ref", f"refs/heads/{name}", commit, _NO_COMMIT)

    def note(self, name: str) -> Path:
        """Return a file in git's own folder, for this checkout alone."""
        return self.root / self.git("rev-parse", "--git-path", f"headstart-{name}").strip()


def _printable(text: str) -> str:
    """Return a text without the bytes that are not UTF-8, which no terminal can print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

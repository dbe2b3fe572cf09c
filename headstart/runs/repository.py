"""Git, asked so that neither the branch, nor the index, nor the files of a checkout change."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headstart.pipeline.errors import FlowError

_NO_COMMIT = "0" * 40
_BY_HAND = ("GIT_AUTHOR_", "GIT_COMMITTER_")
_REMOTE = {"fetch", "ls-remote", "push"}


class GitError(FlowError):
    """Git refused; the message has its own words."""


@dataclass(frozen=True)
class Repository:
    """The git repository around a project's folder.

    Parameters
    ----------
    root : Path
        The project's folder. Paths that go in and come out are relative to it, with ``/``.
    """

    root: Path

    def git(
        self,
        *words: str,
        index: Path | None = None,
        given: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run git in the project's folder; return what it prints.

        Parameters
        ----------
        *words : str
        index : Path or None
            An index to use in place of the checkout's.
        given : str or None
            Its standard input.
        environment : mapping or None
            Further variables.

        Raises
        ------
        GitError
            If it ends with another code than 0.
        """
        variables = {**self._environment(words[0]), **(environment or {})}
        if index is not None:
            variables["GIT_INDEX_FILE"] = os.fspath(index)
        done = subprocess.run(
            ["git", "--literal-pathspecs", *words], cwd=self.root, env=variables, input=given,
            capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise GitError(f"`git {' '.join(words[:2])}` in {self.root} failed: {said}")
        return done.stdout

    def _environment(self, command: str) -> Mapping[str, str]:
        """Variables for a command of git; over the network, SSH asks nobody for a password."""
        found = _environment()
        if command in _REMOTE and "GIT_SSH_COMMAND" not in found and "GIT_SSH" not in found:
            words = ["git", "config", "core.sshCommand"]  # the variable would go before it
            told = subprocess.run(words, cwd=self.root, env=found, capture_output=True, check=False)
            if told.returncode:
                found["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        return found

    def head(self) -> str:
        """The checked-out commit.

        Raises
        ------
        GitError
            If there is no repository, or no commit in it.
        """
        try:
            return self.git("rev-parse", "--verify", "HEAD").strip()
        except GitError as error:
            raise GitError(
                f"{self.root} has no git commit, and a result is recorded as a commit on top of "
                "the one that was run. Commit the project first: `git init`, `git add --all`, "
                f"`git commit`. ({error})"
            ) from error

    def changed(self) -> tuple[str, ...]:
        """Tracked files that differ from the checked-out commit, staged or not."""
        return self._status("--untracked-files=no")

    def changed_among(self, paths: Sequence[str]) -> tuple[str, ...]:
        """What of some paths differs from the commit; new files count unless git ignores them."""
        return self._status("--untracked-files=all", "--", *paths) if paths else ()

    def _status(self, *words: str) -> tuple[str, ...]:
        told = self.git("status", "--porcelain=v1", "-z", "--no-renames", *words)
        return self._from_here([entry[3:] for entry in told.split("\0") if entry])

    def _from_here(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Git tells paths from the top of the repository, which may lie above the project."""
        top = self.root / self.git("rev-parse", "--show-cdup").strip()
        return tuple(Path(os.path.relpath(top / path, self.root)).as_posix() for path in paths)

    def text(self, commit: str, path: str) -> str | None:
        """A file as it stands in a commit; None if it is not in it."""
        try:
            return self.git("show", f"{commit}:./{path}")
        except GitError:
            return None

    def commit(self, parent: str, paths: Sequence[str], message: str) -> str:
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
            self.git("add", "--all", "--force", "--", *paths, index=index)
            tree = self.git("write-tree", index=index).strip()
        words = ("commit-tree", tree, "-p", parent, "-F", "-")
        return self.git(*words, given=message, environment=self._identity()).strip()

    def _identity(self) -> Mapping[str, str]:
        """Who commits, as far as git has not been told: it need not know both."""
        usual = {"NAME": "Headstart", "EMAIL": f"headstart@{socket.gethostname() or 'localhost'}"}
        found: dict[str, str] = {}
        for part, value in usual.items():
            try:
                self.git("config", f"user.{part.lower()}")
            except GitError:
                found |= {f"{role}{part}": value for role in _BY_HAND}
        return {**found, **{key: os.environ[key] for key in found if key in os.environ}}

    def put_back(self, commit: str, paths: Iterable[str]) -> None:
        """Give some files the content that they have in a commit; remove what is not in it."""
        with self._index(commit) as index:
            for path in paths:
                if self.git("ls-files", "--", path, index=index):
                    self.git("checkout-index", "--force", "--", path, index=index)
                else:
                    (self.root / path).unlink(missing_ok=True)

    @contextmanager
    def _index(self, commit: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
            index = Path(folder) / "index"
            self.git("read-tree", commit, index=index)
            yield index

    def differing(self, one: str, other: str) -> tuple[str, ...]:
        """Files in which two commits differ."""
        told = self.git("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other)
        return self._from_here(filter(None, told.split("\0")))

    def branches(self, folder: str) -> Mapping[str, str]:
        """Branches under a folder, here and as last fetched: full name to commit."""
        told = self.git(
            "for-each-ref", "--format=%(objectname) %(refname)",
            f"refs/heads/{folder}/", f"refs/remotes/origin/{folder}/",
        )  # fmt: skip
        return {name: commit for commit, name in (line.split(" ", 1) for line in told.splitlines())}

    def new_branch(self, name: str, commit: str) -> None:
        """Name a commit. Raises GitError if there is such a branch."""
        self.git("update-ref", f"refs/heads/{name}", commit, _NO_COMMIT)

    def note(self, name: str) -> Path:
        """A file in git's own folder, for this checkout alone."""
        return self.root / self.git("rev-parse", "--git-path", f"headstart-{name}").strip()


def _environment() -> dict[str, str]:
    """Of this process, but for what a hook would change; git asks nobody for a password."""
    found = {
        **os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    }  # fmt: skip
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"):
        found.pop(name, None)
    return found

"""Record a scheduled run's results as a commit on a separate branch.

The checkout stays as it is: HEAD, branch and index are not touched. Once the results are safe in
the commit, the files that git keeps are restored to their content in HEAD, so that the next run
finds a clean tree. Outputs that git does not keep (images, features, models) stay; dvc.lock in the
commit names them, and DVC's cache has them.

dvc.lock decides whether there are new results. Seconds, passes and the machine differ every time
and are therefore not outputs: they are part of a commit, and never a reason for one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import chain, count
from pathlib import Path

from prefect import get_run_logger
from prefect.exceptions import MissingContextError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import leaves
from headstart.pipeline import graph
from headstart.pipeline.git import GitError, Repository
from headstart.pipeline.graph import Kept
from headstart.runs.certificate import rendered

BRANCHES = "headstart/runs"
_MARK = "unfinished-run"
_HEADLINES = 30


class RecordingError(HeadstartError):
    """The results cannot be recorded as asked; the message says where they are."""


def before(root: Path) -> str:
    """Check that a run that starts now can be recorded when it ends.

    Changes by an earlier run that did not finish are accepted: this run resumes from them.

    Parameters
    ----------
    root : Path
        The project's folder.

    Returns
    -------
    str
        The commit that is about to be run, for :func:`record`.

    Raises
    ------
    RecordingError
        If a tracked file was changed, or git does not know a file that the run is going to write.
    GitError
        If there is no commit.
    """
    repository = Repository(root)
    head = repository.head()
    mark = repository.note(_MARK)
    own = set(repository.changed_among(_paths(graph.kept(root))))
    amiss = {*repository.changed(), *own} - (own if mark.exists() else set())
    if amiss:
        raise RecordingError(
            f"The results are to be committed, but in {root} {_listed(amiss)} "
            f"{'differ' if len(amiss) > 1 else 'differs'} from commit {head[:10]}, so no commit "
            "would describe the run. Nothing was run. `git status` shows the changes: commit "
            "them, undo them (`git checkout -- FILE`), or run without `commit`."
        )
    mark.write_text(f"{head}\n")
    return head


def record(
    root: Path,
    name: str,
    push: bool = False,
    held: bool = False,
    *,
    commit: str | None = None,
    outcomes: Mapping[str, str] | None = None,
) -> str | None:
    """Commit what a run changed to a branch of its own, and leave the checkout as it was.

    Parameters
    ----------
    root : Path
        The project's folder.
    name : str
        Of the flow run; names the branch.
    push : bool
        Push the data with DVC, if it has a remote, and the branch with git.
    held : bool
        The gate held the model; the commit's message says so.
    commit : str or None
        The result of :func:`before`; None: the checked-out commit.
    outcomes : mapping of str to str or None
        The outcome of each stage, for the commit's message.

    Returns
    -------
    str or None
        The branch; None if HEAD or the branch of a former run has the same already.

    Raises
    ------
    RecordingError
        If the checkout changed during the run, or the results cannot be committed or pushed.
    """
    repository = Repository(root)
    commit = commit or repository.head()
    kept = graph.kept(root)
    changed = repository.changed_among(_paths(kept))
    _check_untouched(repository, commit, changed)
    try:
        if push:
            _fetch(repository)
        message = _message(repository, name, commit, kept.outs, held=held, outcomes=outcomes or {})
        branch = _branch(repository, name, commit, message, changed, kept)
    except GitError as error:
        raise RecordingError(
            f"The results could not be committed; they are in {root}, uncommitted. {error}"
        ) from error
    try:
        if branch is not None and push:
            _push(repository, branch)
    finally:  # They are safe in the commit, wherever it got to.
        repository.put_back(commit, changed)
        repository.note(_MARK).unlink(missing_ok=True)
    return branch


def _message(
    repository: Repository, name: str, commit: str, outs: Iterable[str], **values: object
) -> str:
    """Return a commit's message: the flow run, the commit that was run, stages, and metrics."""
    metrics = {}
    for path in outs:
        file = repository.root / path
        now = headline_numbers(file.read_bytes() if file.is_file() else b"")
        then = headline_numbers(repository.content(commit, path) or b"")
        metrics[path] = {key: (value, then.get(key, value)) for key, value in now.items()}
    title = repository.git("show", "--no-patch", "--format=%h %s", commit).strip()
    return rendered("commit_message.txt", name=name, title=title, metrics=metrics, **values)


def headline_numbers(text: bytes) -> dict[str, str]:
    """Return the first 30 numbers near the top of a JSON file, by dotted key; none without one.

    ``model.accuracy`` is near the top; a number for each class is not.
    """
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    found = leaves(content) if isinstance(content, dict) else {}
    numbers = {
        key: f"{value:.6g}"
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key.count(".") < 2
    }
    return dict(list(numbers.items())[:_HEADLINES])


def _branch(
    repository: Repository,
    name: str,
    commit: str,
    message: str,
    changed: tuple[str, ...],
    kept: Kept,
) -> str | None:
    """Commit to a new branch, unless HEAD or another run has the same results."""
    former = repository.branches(BRANCHES)
    if changed:
        made = repository.store(commit, changed, message)
        known = {"HEAD": commit, **former}
        same = next((ref for ref, at in known.items() if _same(repository, at, made, kept)), None)
        if same is None:
            taken = {ref.partition(f"{BRANCHES}/")[2] for ref in former}
            branch = f"{BRANCHES}/{_free(_speakable(name), taken)}"
            repository.new_branch(branch, made)
            _say(f"Committed the results to the branch {branch} ({made[:10]}).")
            return branch
        if same != "HEAD":
            _say(f"Nothing to commit: {same} has these results already.")
            return None
    _say("Nothing to commit: the results are those of HEAD.")
    return None


def _same(repository: Repository, one: str, other: str, kept: Kept) -> bool:
    """Return whether two commits hold the same results."""
    for path in repository.differing(one, other):
        differs = path not in kept.notes
        if path in kept.locks:
            # Stages that ran side by side are listed in the order in which they ended.
            first, second = (_parsed(repository.content(rev, path)) for rev in (one, other))
            differs = first != second
        if differs:
            return False
    return True


def _parsed(text: bytes | None) -> object:
    try:
        return YAML(typ="safe", pure=True).load(text or b"")
    except YAMLError:
        return text


def _check_untouched(repository: Repository, commit: str, own: tuple[str, ...]) -> None:
    """Check that nobody changed the tree during the run: a result belongs to a commit."""
    head = repository.head()
    strange = set(repository.changed()) - set(own)
    if head == commit and not strange:
        return
    what = (
        f"{_listed(strange)} changed"
        if head == commit
        else f"another commit was checked out ({head[:10]} instead of {commit[:10]})"
    )
    raise RecordingError(
        f"The results were not committed, because during the run {what} in {repository.root}, so "
        "they belong to no commit. They are there, uncommitted. Clean up the tree (`git status`) "
        "and run again: stages whose inputs did not change are not run twice. To work on the "
        "project meanwhile, give scheduled runs a clone of their own (docs/scheduling.md)."
    )


def _fetch(repository: Repository) -> None:
    """Fetch what former runs pushed. Without a connection, pushing will fail and say so."""
    try:
        known = f"refs/heads/{BRANCHES}/*"
        if not repository.git("ls-remote", "origin", known):
            return  # which a shallow fetch takes for an error
        repository.git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
            # Otherwise the whole history of those runs is fetched.
            *(["--depth=1"] if repository.shallow else []),
            "origin", f"+{known}:refs/remotes/origin/{BRANCHES}/*",
        )  # fmt: skip
    except GitError as error:
        _say(f"The branches of earlier runs could not be fetched. {error}")


def _push(repository: Repository, branch: str) -> None:
    """Push the data, then the branch that names it."""
    faults = []
    asked = _dvc(repository.root, "config", "core.remote")
    if asked.returncode == 0 and asked.stdout.strip():
        done = _dvc(repository.root, "push")
        if done.returncode:
            faults.append(f"`dvc push`: {done.stdout.strip()}")
    else:
        _say("DVC has no remote: the data stays in its cache, and only the branch is pushed.")
    try:
        repository.git("push", "--quiet", "origin", f"refs/heads/{branch}:refs/heads/{branch}")
    except GitError as error:
        faults.append(str(error))
    if faults:
        raise RecordingError(
            f"The results are committed to the branch {branch} in {repository.root}, but not all "
            f"could be pushed. {' '.join(faults)} When that is fixed: `git push origin {branch}`, "
            f"and `git checkout {branch}` with `dvc push`."
        )


def _dvc(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "dvc", *words], cwd=root, env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip


def _paths(kept: Kept) -> tuple[str, ...]:
    return (*kept.locks, *kept.outs, *kept.notes, *kept.ignores)


def _listed(paths: set[str]) -> str:
    first = sorted(paths)
    return ", ".join(first[:5]) + (f" and {len(first) - 5} more" if len(first) > 5 else "")


def _speakable(name: str) -> str:
    """Return a name that git accepts as a part of a branch's."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100]
    return plain or "run"


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


def _say(line: str) -> None:
    try:
        get_run_logger().info(line)
    except MissingContextError:
        print(line)  # not in a flow

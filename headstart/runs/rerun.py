"""Run a commit again in a clean copy and compare it with its dvc.lock, without a server."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import counted, plain
from headstart.pipeline import graph, recorded
from headstart.pipeline.git import Commit, Repository
from headstart.pipeline.plan import options
from headstart.pipeline.recorded import Record
from headstart.pipeline.storage import Storage
from headstart.runs import certificate as certificates
from headstart.runs import interpreter
from headstart.runs.certificate import Certificate, StageRun
from headstart.runs.clean_copy import Copy, bring_data, clean_copy, warm_up
from headstart.runs.own_backbone import bring_backbone
from headstart.runs.run_stage import StageFailedError, run_stage
from headstart.runs.verdict import (
    Comparison,
    FileVerdict,
    Verdict,
    contradictions,
    overall,
    stale,
)

ENVIRONMENT = "environment.json"
# Made by each stage, kept by none: DVC's cache and run cache stay empty.
_COLD = ("--force", "--no-run-cache", "--no-commit")
_NEEDED = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config")


@dataclass(frozen=True)
class Request:
    """The commit to run again, with options.

    Attributes
    ----------
    rev : str
    require : Verdict
        The least that counts as success.
    warm : Path or None
        A feature store whose records are copied and used; None: every image passes again.
    from_source : bool
        Run the stages that fetch the data, also where their outputs are in the cache or the remote.
    keep : bool
        Leave the copy.
    changed : sequence of str
        Parameters to set, as ``section.key=value``.
    python : str or None
        The Python whose packages the stages use; "lock": one made from the commit's
        requirements.lock; None: this one.
    command : str
        The command in the certificate.
    """

    rev: str
    require: Verdict = Verdict.BIT_EXACT
    warm: Path | None = None
    from_source: bool = False
    keep: bool = False
    changed: Sequence[str] = ()
    python: str | None = None
    command: str = ""


def rerun(
    root: Path,
    request: Request,
    *,
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> Certificate:
    """Run a commit again and compare.

    Parameters
    ----------
    root : Path
        The project's folder. Nothing in it is written, nor in its cache, remote and store.
    request : Request
    say : callable
        Called with each line of progress.
    stop : threading.Event or None
        Set by another thread, it ends the run within seconds.

    Raises
    ------
    HeadstartError
        If there is no verdict: the revision or its data are unknown, a stage fails.
    """
    commit = Repository(root).commit(request.rev)
    _check_format(commit)
    run = _Run(root, request, commit, say, stop)
    run.note_uncommitted()
    try:
        with clean_copy(commit, keep=request.keep) as copy:
            say(f"Commit {commit} in a clean copy: {copy.folder}")
            run.python = interpreter.choose(
                request.python, commit, copy.folder, say=lambda line: say(f"  {line}"), stop=stop
            )
            run.note_python()
            return run.execute(copy)
    except OSError as error:  # a full disk, mostly
        raise HeadstartError(
            f"There is no verdict on commit {commit}: a file of the clean copy could not be "
            f"written or read: {error}. Name another folder in TMPDIR."
        ) from error


@dataclass
class _Run:
    root: Path
    request: Request
    commit: Commit
    say: Callable[[str], None]
    stop: threading.Event | None
    python: Path = Path(sys.executable)
    notes: list[str] = field(default_factory=list)
    stages: list[StageRun] = field(default_factory=list)
    files: list[FileVerdict] = field(default_factory=list)

    def execute(self, copy: Copy) -> Certificate:
        """Check, run, compare, certify."""
        records = recorded.records(copy.project, f"commit {self.commit}")
        _check_records(records, self.commit)
        storage = Storage(self.root)
        restored = bring_data(
            copy, records, storage, from_source=self.request.from_source, note=self._note
        )
        self.files += contradictions(records) + stale(
            copy.project, records, restored, note=self._note
        )
        self._prepare(copy)
        bring_backbone(copy, records, storage, self._note)
        where = _environment_path(records)
        then = _environment(self.commit.content(where)) if where else None
        if where:
            (copy.project / where).unlink(missing_ok=True)
        start = time.perf_counter()
        self._run_stages(copy, restored)
        seconds = time.perf_counter() - start
        now = _environment(_read(copy.project / where)) if where else None
        self.say("Comparing with dvc.lock …")
        compare = Comparison(self.commit, copy.project, storage, copy.scratch)
        for name, record in records.items():
            self.files += compare.verdicts(record, restored=name in restored)
        self.notes += dict.fromkeys(storage.faults)
        if self.request.keep:
            self._note(f"The copy was kept: {copy.project} (its git reads {self.root}'s objects).")
        return Certificate(
            revision=self.request.rev,
            commit=self.commit.sha,
            subject=self.commit.subject,
            committed=self.commit.date,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self.request.command,
            verdict=overall(self.files),
            required=self.request.require,
            files=tuple(self.files),
            stages=tuple(self.stages),
            then=then,
            now=now,
            differences=certificates.differences(then, now),
            changed=tuple(self.request.changed),
            warm=self.request.warm is not None,
            notes=tuple(self.notes),
            seconds=round(seconds, 3),
        )

    def note_python(self) -> None:
        """Report whose packages the stages use, if they are not this Python's."""
        if self.request.python == interpreter.LOCK:
            self._note("The stages use an environment made from the commit's lock.")
        elif self.request.python:
            self._note(f"The stages use the packages of {self.python}.")

    def note_uncommitted(self) -> None:
        """Report changes in the folder that are not committed, because only the commit is run."""
        changed = [path for path in Repository(self.root).changed() if not path.startswith("..")]
        if changed:
            more = f", … ({len(changed):,} files)" if len(changed) > 3 else ""
            named = ", ".join(map(plain, changed[:3])) + more
            self._note(f"Changes that are not committed are not part of this run: {named}.")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(f"Note: {text}")

    def _prepare(self, copy: Copy) -> None:
        if self.request.warm is not None:
            count = warm_up(copy, self.request.warm)
            files = counted(count, "file")
            self._note(f"Warm: recorded features of {self.request.warm} are used ({files}).")
        if self.request.changed:
            recorded.change(copy.project / "params.yaml", self.request.changed)
            self._note(f"Parameters changed: {', '.join(self.request.changed)}.")

    def _run_stages(self, copy: Copy, restored: Mapping[str, str]) -> None:
        environment = {**copy.environment(), **interpreter.path_variable(self.python)}
        for stage in graph.stages(copy.project):
            start = time.perf_counter()
            how = restored.get(stage.name)
            if how is None:
                how = "ran"
                self.say(f"{stage.name} …")
                self._run_stage(copy, stage, environment)
            seconds = round(time.perf_counter() - start, 3)
            self.stages.append(StageRun(stage.name, how, seconds))
            self.say(f"{stage.name}: {how}{f', {seconds:.1f} s' if how == 'ran' else ''}")

    def _hear(self, line: str) -> None:
        if not line.startswith(("Running stage '", "> ")):  # DVC's announcement: we made one
            self.say(f"  {line}")

    def _run_stage(self, copy: Copy, stage: graph.Stage, environment: Mapping[str, str]) -> None:
        try:
            run_stage(
                copy.project, stage.name, on_line=self._hear, stop=self.stop,
                timeout_s=stage.timeout_s, environment=environment, arguments=_COLD,
            )  # fmt: skip
        except StageFailedError as error:
            kept = "" if self.request.keep else " (--keep leaves it)"
            raise HeadstartError(
                f"There is no verdict on commit {self.commit}: {stage.name} failed in the clean "
                f"copy{kept}. {error}"
            ) from error


def _check_format(commit: Commit) -> None:
    missing = [path for path in _NEEDED if commit.content(path) is None]
    if missing:
        raise HeadstartError(
            f"Commit {commit} cannot be run again: it has no {', '.join(missing)}. It is from "
            "before the project was a DVC pipeline, or from before its first run was committed. "
            "Nothing was run. `git log -- dvc.lock` lists the commits that recorded a run."
        )


def _check_records(records: Mapping[str, Record], commit: Commit) -> None:
    """Refuse a commit of which nothing, or not everything, is recorded.

    Raises
    ------
    HeadstartError
        Naming the stages without a record.
    """
    if not records:
        raise HeadstartError(f"dvc.yaml of commit {commit} has no stages. Nothing was run.")
    missing = [
        f"{name} ({out.path})"
        for name, record in records.items()
        for out in record.outs
        if not out.md5
    ]
    if missing:
        raise HeadstartError(
            f"dvc.lock of commit {commit} does not belong to its dvc.yaml: it has no hash for "
            f"{', '.join(missing[:4])}{' and more' if len(missing) > 4 else ''}, so there is "
            "nothing to compare with. Nothing was run. The stage was added or renamed after the "
            "last run, or the lock is of another format; a commit made after `dvc repro` can be "
            "reproduced."
        )


def _environment_path(records: Mapping[str, Record]) -> str | None:
    """Return the path of the commit's environment, beside the statistics of its stages."""
    folders = (options(record).get("run_statistics") for record in records.values())
    return next((f"{folder}/{ENVIRONMENT}" for folder in folders if folder), None)


def _environment(text: bytes | None) -> Mapping[str, Any] | None:
    try:
        values = json.loads(text or b"")
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None

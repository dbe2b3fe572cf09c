"""The outputs of a run compared with dvc.lock: a verdict per file, and an overall one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from headstart._utils.files import MD5_FOLDER, md5_file
from headstart.pipeline.git import Commit
from headstart.pipeline.plan import changes
from headstart.pipeline.recorded import Input, Output, Record, md5_tree
from headstart.pipeline.storage import Storage
from headstart.runs.clean_copy import Note, count_files
from headstart.runs.numerical_comparison import compare_files

NOWHERE = (
    "the recorded bytes are neither in DVC's cache nor in the remote, so that only the hash could "
    "be compared (run `dvc push` where they were made, or `dvc pull` here)"
)


class Verdict(StrEnum):
    """Degrees of agreement, the best first."""

    BIT_EXACT = "bit-exact"
    NUMERICAL = "numerically-equal"  # all numbers within a tolerance, all else the same
    METRIC = "metric-equal"  # of all: the metrics are equal, whatever else differs
    DIFFERENT = "different"

    def reaches(self, required: Verdict) -> bool:
        """Return whether it is as good as the required one, or better."""
        order = list(Verdict)
        return order.index(self) <= order.index(required)


class Kind(StrEnum):
    """The subject of an entry."""

    OUTPUT = "output"
    METRIC = "metric"
    INPUT = "input"  # the commit holds another one than its dvc.lock records
    RECORD = "record"  # dvc.lock contradicts itself


@dataclass(frozen=True)
class FileVerdict:
    """A file, or a folder of which the recorded files are not known.

    Attributes
    ----------
    path, stage : str
    kind : Kind
    verdict : Verdict
        Never METRIC.
    recorded, got : str
        The md5s; "": there is none.
    largest : float or None
        Largest difference of two numbers, where both were read.
    why : str
        The reason why it is not bit-exact.
    restored : bool
        It was restored from the cache or the remote, and not made again.
    """

    path: str
    stage: str
    kind: Kind
    verdict: Verdict
    recorded: str = ""
    got: str = ""
    largest: float | None = None
    why: str = ""
    restored: bool = False


def overall(files: Iterable[FileVerdict]) -> Verdict:
    """Return the overall verdict.

    Bit-exact: every file is. Numerically equal: every file is, or is bit-exact. Metric-equal: there
    are metrics, and each is one of the two. A dvc.lock that contradicts itself proves nothing.
    """
    found = list(files)
    kinds = {entry.verdict for entry in found}
    if any(entry.kind is Kind.RECORD for entry in found) or not found:
        return Verdict.DIFFERENT
    if kinds == {Verdict.BIT_EXACT}:
        return Verdict.BIT_EXACT
    if kinds <= {Verdict.BIT_EXACT, Verdict.NUMERICAL}:
        return Verdict.NUMERICAL
    metrics = {entry.verdict for entry in found if entry.kind is Kind.METRIC}
    if metrics and metrics <= {Verdict.BIT_EXACT, Verdict.NUMERICAL}:
        return Verdict.METRIC
    return Verdict.DIFFERENT


def contradictions(records: Mapping[str, Record]) -> list[FileVerdict]:
    """Return outputs that dvc.lock records with another hash where a later stage reads them."""
    made = {out.path: (name, out.md5) for name, record in records.items() for out in record.outs}
    found: dict[str, FileVerdict] = {}
    for name, record in records.items():
        for path, read in record.deps.items():
            maker, written = made.get(path, ("", read.md5))
            if written != read.md5:
                why = f"dvc.lock contradicts itself: {maker} wrote this, {name} read the other"
                entry = _judged(path, maker, Kind.RECORD, written, read.md5, why)
                found.setdefault(path, entry)
    return list(found.values())


def stale(
    project: Path,
    records: Mapping[str, Record],
    restored: Mapping[str, str],
    *,
    note: Note,
) -> list[FileVerdict]:
    """Return the inputs with another record in dvc.lock, which this commit then did not make.

    Parameters
    ----------
    project : Path
        The clean copy with its data, before any stage has run.
    records : mapping of str to Record
    restored : mapping
        Stages that will not run.
    note : callable
        Called with what a reader of the certificate should know.
    """
    made = {out.path for record in records.values() for out in record.outs}
    found = []
    for name, change in changes(project).items():
        deps = records[name].deps
        for named in change.deps:
            # DVC's own is relative to the copy, also where dvc.yaml has an absolute path.
            path = named if named in deps else os.path.normpath(project / named)
            then, there = deps.get(path, Input("", None)), project / path
            # Of where restored data came from, only what git has, and has all of, is the commit's.
            apart = Path(path).is_absolute() or count_files(there) != (then.files or 1)
            if path not in made and not (name in restored and apart):
                got = md5_tree(there)[0] if there.exists() else ""
                found.append(_input(name, path, then.md5, got))
        for param in change.params:
            entry = _input(name, f"params.yaml: {param.name}", param.old or "", param.new or "")
            found.append(entry)
        if change.command:
            found.append(_input(name, "dvc.yaml: cmd", "", ""))
    if found:
        note(
            "dvc.lock is not current at this commit: it records other inputs "
            f"({', '.join(list(dict.fromkeys(entry.path for entry in found))[:4])}"
            f"{' and more' if len(found) > 4 else ''}). `dvc repro` before the commit keeps the "
            "two together."
        )
    return found


def _input(stage: str, path: str, then: str, now: str) -> FileVerdict:
    why = "dvc.lock records another one than the commit holds"
    return FileVerdict(path, stage, Kind.INPUT, Verdict.DIFFERENT, then, now, why=why)


@dataclass
class Comparison:
    """Compares the outputs in a project's folder with the records of a commit.

    Parameters
    ----------
    commit : Commit
    project : Path
        Where the outputs are.
    storage : Storage
        Where recorded bytes are looked for.
    scratch : Path
        A folder for them.
    """

    commit: Commit
    project: Path
    storage: Storage
    scratch: Path

    def verdicts(self, record: Record, *, restored: bool = False) -> list[FileVerdict]:
        """Return the verdicts on all outputs of a stage."""
        return [
            replace(self._contents(entry, out), restored=restored)
            for out in record.outs
            for entry in self._hashes(record.name, out)
        ]

    def _hashes(self, stage: str, out: Output) -> list[FileVerdict]:
        """Compare an output by hashes alone: of a folder, each file of a known list."""
        path, kind = self.project / out.path, Kind.METRIC if out.metric else Kind.OUTPUT
        got, files = md5_tree(path) if path.exists() else ("", {})
        if not out.md5.endswith(MD5_FOLDER) or not got.endswith(MD5_FOLDER):
            return [_judged(out.path, stage, kind, out.md5, got)]
        recorded: Mapping[str, str] | None = files
        if got != out.md5:
            recorded = self.storage.listing(out.md5, self.scratch / "listing")
        if recorded is None or not (recorded or files):
            hint = "" if got == out.md5 else NOWHERE.replace("bytes are", "list of its files is")
            return [_judged(out.path, stage, kind, out.md5, got, hint)]
        return [
            _judged(f"{out.path}/{name}", stage, kind, recorded.get(name, ""), files.get(name, ""))
            for name in sorted({*recorded, *files})
        ]

    def _contents(self, entry: FileVerdict, out: Output) -> FileVerdict:
        """Compare the contents of a file with another hash, where the recorded bytes are known."""
        hashes = entry.recorded, entry.got
        unknown = not all(hashes) or any(found.endswith(MD5_FOLDER) for found in hashes)
        if entry.verdict is Verdict.BIT_EXACT or unknown:
            return entry
        target = self.scratch / f"recorded{Path(entry.path).suffix}"
        in_git = entry.path == out.path and not out.cached
        if not self._recorded(entry, target, in_git=in_git):
            return replace(entry, why=NOWHERE)
        found = compare_files(target, self.project / entry.path)
        target.unlink()
        verdict = Verdict.NUMERICAL if found.equal else Verdict.DIFFERENT
        return replace(entry, verdict=verdict, largest=found.largest, why=found.why)

    def _recorded(self, entry: FileVerdict, target: Path, *, in_git: bool) -> bool:
        """Copy the recorded bytes of a file to ``target``, if they can be found."""
        kept = self.commit.content(entry.path) if in_git else None
        if kept is not None:
            target.write_bytes(kept)
            if md5_file(target) == entry.recorded:
                return True
        return self.storage.fetch(entry.recorded, target) is not None


def _judged(
    path: str, stage: str, kind: Kind, recorded: str, got: str, why: str = ""
) -> FileVerdict:
    """Return the verdict on a file by its hashes; "": there is none."""
    if recorded and recorded == got:
        return FileVerdict(path, stage, kind, Verdict.BIT_EXACT, recorded, got, why=why)
    if not why and not recorded:
        why = "dvc.lock records no such file"
    elif not why and not got:
        why = "it was not made this time"
    return FileVerdict(path, stage, kind, Verdict.DIFFERENT, recorded, got, why=why)

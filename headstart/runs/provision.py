"""What a clean copy needs before its first stage: its data, and a dvc.lock that is its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from headstart._utils.errors import HeadstartError
from headstart.pipeline.changes import changes
from headstart.pipeline.git import Commit
from headstart.pipeline.recorded import Input, Record, Storage, md5_file, md5_tree
from headstart.runs.clean_copy import Copy, add_missing
from headstart.runs.verdict import FileVerdict, Kind, Verdict

Note = Callable[[str], None]


def check(records: Mapping[str, Record], commit: Commit) -> None:
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


def data(
    copy: Copy,
    records: Mapping[str, Record],
    storage: Storage,
    *,
    from_source: bool,
    note: Note,
) -> dict[str, str]:
    """Bring the data: the outputs of stages with ``source: true`` in their ``meta``.

    Parameters
    ----------
    copy : Copy
    records : mapping of str to Record
    storage : Storage
        Of the user's project: where recorded outputs are looked for.
    from_source : bool
        Look for none: run these stages.
    note : callable
        Called with what a reader of the result should know.

    Returns
    -------
    dict of str to str
        Each stage that need not run, to where its outputs came from.

    Raises
    ------
    HeadstartError
        If neither the outputs nor what they are made of is there.
    """
    restored: dict[str, str] = {}
    for name, record in records.items():
        if not record.meta.get("source"):
            continue
        place = None if from_source else _restore(copy, record, storage, note)
        if place is None:
            _provide(copy, record, storage.root, from_source=from_source, note=note)
        else:
            restored[name] = place
    return restored


def _restore(copy: Copy, record: Record, storage: Storage, note: Note) -> str | None:
    places: dict[str, None] = {}
    for out in record.outs:
        target = copy.project / out.path
        if target.is_file() and md5_file(target) == out.md5:
            continue  # git has it
        place = storage.restore(out, copy.project, copy.scratch / "listing")
        if place is None:
            note(
                f"{record.name} runs from its source: {out.path} as recorded is neither in DVC's "
                "cache nor in the remote."
            )
            return None
        places[place] = None
    return f"restored from {' and '.join(places)}"


def _provide(copy: Copy, record: Record, root: Path, *, from_source: bool, note: Note) -> None:
    """Bring what the stage reads and git does not have; refuse if it is not there."""
    copied = add_missing(copy, root, record.deps)
    if copied:
        note(f"{record.name} reads {', '.join(copied)} of {root}, copied.")
    for path, then in record.deps.items():
        least, now = then.files or 1, _count(copy.project / path)
        if now < least:
            nor = ", and what was made of it is neither in DVC's cache nor in the remote"
            raise HeadstartError(
                f"The data of the commit is missing: {record.name} read {path} with "
                f"{_files(least)}; now it has {_files(now)}{'' if from_source else nor}. Nothing "
                f"was run. Put them back to {root / path}, or bring what {record.name} wrote into "
                "DVC's cache (`dvc fetch` at that commit) or the remote (`dvc push` where it was "
                "made)."
            )


def stale(
    copy: Copy, records: Mapping[str, Record], restored: Mapping[str, str], *, note: Note
) -> list[FileVerdict]:
    """What the commit holds and dvc.lock records otherwise: the lock was not made by it.

    Parameters
    ----------
    copy : Copy
        With the data, before any stage has run.
    records : mapping of str to Record
    restored : mapping
        Stages that will not run.
    note : callable
        As :func:`data` takes it.
    """
    made = {out.path for record in records.values() for out in record.outs}
    found = []
    for name, change in changes(copy.project).items():
        deps = records[name].deps
        for named in change.deps:
            # DVC's own is relative to the copy, also where dvc.yaml has an absolute path.
            path = named if named in deps else os.path.normpath(copy.project / named)
            then, there = deps.get(path, Input("", None)), copy.project / path
            # Of where restored data came from, only what git has, and has all of, is the commit's.
            apart = Path(path).is_absolute() or _count(there) != (then.files or 1)
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


def _count(path: Path) -> int:
    """How many files there are at a path."""
    if path.is_dir():
        return sum(len(names) for _, _, names in os.walk(path))
    return int(path.is_file())


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"

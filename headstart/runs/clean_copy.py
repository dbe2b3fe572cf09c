"""A commit in a temporary folder with files, DVC cache and feature store of its own.

Nothing of the user's is written: git's objects are read where they are (as an alternate of the
copy's own), so that not even a record of a worktree is left behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from headstart._utils.errors import HeadstartError
from headstart._utils.files import md5_file
from headstart._utils.tables import counted, listed
from headstart.pipeline.git import Commit, Repository
from headstart.pipeline.recorded import Record
from headstart.pipeline.storage import Storage, set_locally

# Where the library is installed as a link to the user's checkout, Python would find modules there
# that the library of the commit lacks.
_GUARD = """\
import sys
sys.meta_path[:] = [
    finder for finder in sys.meta_path
    if not getattr(finder, "__module__", "").startswith("__editable__")
]
"""
Note = Callable[[str], None]
_DEEP = 8  # folders above the copy, so that `../..` of its settings stays inside of ours


@dataclass(frozen=True)
class Copy:
    """Where things are. ``folder`` is all of it, ``project`` the commit's files.

    ``scratch`` is for whatever belongs to neither.
    """

    folder: Path
    project: Path
    store: Path
    scratch: Path

    def environment(self) -> Mapping[str, str]:
        """Return variables for the commit's stages: its own code, the copy's store."""
        return {
            "HEADSTART_CACHE": str(self.store),
            "HEADSTART_VERIFY": "1",  # read every file, whatever a copied store says
            "HEADSTART_RUN": f"reproduce-{uuid4().hex}",
            # Nothing of another tree: neither before the commit's code, nor where it lacks some.
            "PYTHONPATH": str(self.folder / "guard"),
            "PYTHONSAFEPATH": "",
            "DVC_SITE_CACHE_DIR": str(self.folder / "site"),
            # TensorFlow leaves what it compiles of Python.
            "TMPDIR": str(self.folder / "temporary"),
        }


@contextmanager
def clean_copy(commit: Commit, *, keep: bool = False) -> Iterator[Copy]:
    """Make the copy; remove it when the block ends, however it does, unless ``keep``.

    Raises
    ------
    HeadstartError
        If git cannot bring the commit's files.
    """
    folder = Path(tempfile.mkdtemp(prefix="headstart-reproduce-")).resolve()
    try:
        top = folder.joinpath(*["d"] * _DEEP, "copy")
        made = Copy(folder, top / commit.prefix, folder / "store", folder / "scratch")
        top.mkdir(parents=True)
        for name in ("cache", "site", "guard", "temporary", "store", "scratch"):
            (folder / name).mkdir()
        _check_out(commit, top)
        if (made.project / "headstart").is_dir():  # else the stages use the installed library
            (folder / "guard" / "sitecustomize.py").write_text(_GUARD, encoding="utf-8")
        _settle(made)
        yield made
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _check_out(commit: Commit, top: Path) -> None:
    """Check out the commit's files, from the objects of the repository that it was found in."""
    source, copy = Repository(commit.root), Repository(top)
    objects = Path(source.git("rev-parse", "--git-path", "objects").strip())
    kind = source.git("rev-parse", "--show-object-format").strip()
    copy.git("init", "--quiet", f"--object-format={kind}", "--initial-branch=copy")
    alternates = top / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(parents=True, exist_ok=True)
    alternates.write_text(f"{(commit.root / objects).resolve()}\n", encoding="utf-8")
    try:
        copy.git("-c", "advice.detachedHead=false", "checkout", "--quiet", commit.sha)
        # Git reports a missing file, leaves it out, and may still succeed.
        amiss = copy.git("ls-files", "--deleted").splitlines()
        some = f"{counted(len(amiss), 'file')} ({listed(amiss, 1)})"
        why = f"git has lost the content of {some}." if amiss else ""
    except HeadstartError as error:
        why = str(error)
    if why:
        raise HeadstartError(
            f"The files of commit {commit} could not be brought into a clean copy: {why} (In a "
            "partial clone, `git fetch --refetch --no-filter` fetches what is missing.)"
        )


def _settle(made: Copy) -> None:
    """Give DVC in the copy a cache and settings of its own."""
    if (made.project / ".dvc").is_dir():
        (made.project / ".dvc" / "config.local").unlink(missing_ok=True)
        quiet = dict.fromkeys(("analytics", "autostage", "check_update"), "false")
        settings = {
            "core": {**quiet, "site_cache_dir": str(made.folder / "site")},
            "cache": {"dir": str(made.folder / "cache"), "type": "copy"},
        }
        set_locally(made.project, settings)


def add_missing(made: Copy, root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Copy untracked files from the user's folder: images that a commit only names.

    Parameters
    ----------
    made : Copy
    root : Path
        The project's folder of the user.
    paths : iterable of str
        Files and folders, relative to the project's folder or absolute. Of a folder, files that
        git knows are taken from the commit, and not from here.

    Returns
    -------
    tuple of str
        Those of which something was copied.

    Raises
    ------
    HeadstartError
        If they need more disk space than there is.
    """
    planned: dict[str, list[tuple[Path, Path]]] = {}
    tracked = set(Repository(root).git("ls-files", "-z", "--", ".").split("\0"))
    for path in paths:
        if Path(path).is_absolute():
            continue  # the copy's stages read it where it is
        pairs = [
            (source, target)
            for source, target in _beneath(root / path, made.project / path)
            if not target.exists() and os.path.relpath(source, root) not in tracked
        ]
        if pairs:
            planned[path] = pairs
    needed = sum(source.stat().st_size for pairs in planned.values() for source, _ in pairs)
    free = shutil.disk_usage(made.folder).free
    if needed > free:
        raise HeadstartError(
            f"A clean copy of {', '.join(planned)} needs {needed:,} bytes, and {made.folder} has "
            f"room for {free:,}. Nothing was run. Make room, or name another folder in TMPDIR."
        )
    for pairs in planned.values():
        for source, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return tuple(planned)


def _beneath(source: Path, target: Path) -> list[tuple[Path, Path]]:
    if source.is_file():
        return [(source, target)]
    found = [Path(inside, name) for inside, _, names in os.walk(source) for name in names]
    return [(file, target / file.relative_to(source)) for file in found if file.is_file()]


def warm_up(made: Copy, store: Path) -> int:
    """Copy the recorded features of a store into the copy's own; return the number of files."""
    count = 0
    for file in sorted(store.rglob("*.sqlite")):
        target = made.store / file.relative_to(store)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Without a log there is no writer; then SQLite needs no file of its own beside it.
        how = "mode=ro" if file.with_name(f"{file.name}-wal").exists() else "immutable=1"
        with (
            closing(sqlite3.connect(f"{file.as_uri()}?{how}", uri=True)) as one,
            closing(sqlite3.connect(target)) as two,
        ):
            one.backup(two)
        count += 1
    return count


def bring_data(
    copy: Copy,
    records: Mapping[str, Record],
    storage: Storage,
    *,
    from_source: bool,
    note: Note,
) -> dict[str, str]:
    """Restore the data: the outputs of stages with ``source: true`` in their ``meta``.

    Parameters
    ----------
    copy : Copy
    records : mapping of str to Record
    storage : Storage
        Of the user's project: where recorded outputs are looked for.
    from_source : bool
        Look for none: run these stages.
    note : callable
        Called with each remark for readers of the result.

    Returns
    -------
    dict of str to str
        Each stage that need not run, to where its outputs came from.

    Raises
    ------
    HeadstartError
        If neither the outputs nor their source can be found.
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
    """Copy the inputs of the stage that git does not have; refuse if one is absent."""
    copied = add_missing(copy, root, record.deps)
    if copied:
        note(f"{record.name} reads {', '.join(copied)} of {root}, copied.")
    for path, then in record.deps.items():
        least, now = then.files or 1, count_files(copy.project / path)
        if now < least:
            nor = ", and its outputs are neither in DVC's cache nor in the remote"
            raise HeadstartError(
                f"The data of the commit is missing: {record.name} read {path} with "
                f"{counted(least, 'file')}; now it has {counted(now, 'file')}"
                f"{'' if from_source else nor}. Nothing "
                f"was run. Put them back to {root / path}, or bring what {record.name} wrote into "
                "DVC's cache (`dvc fetch` at that commit) or the remote (`dvc push` where it was "
                "made)."
            )


def count_files(path: Path) -> int:
    """Return the number of files at a path."""
    if path.is_dir():
        return sum(len(names) for _, _, names in os.walk(path))
    return int(path.is_file())

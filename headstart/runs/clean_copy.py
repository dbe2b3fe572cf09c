"""A commit in a temporary folder, with everything of its own: files, DVC cache, feature store.

Nothing of the user's is written: git's objects are read where they are (as an alternate of the
copy's own), so that not even a record of a worktree is left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import Commit, Repository
from headstart.pipeline.settings import quoted

# The copy's own settings go before those of the commit and of the user.
_CONFIG = """\
[core]
    analytics = false
    autostage = false
    check_update = false
    site_cache_dir = {site}
[cache]
    dir = {cache}
    type = copy
"""
# Where our own project is installed as a link, Python finds in a package of the copy also modules
# that only the user's folder has.
_GUARD = """\
import sys
sys.meta_path[:] = [
    finder for finder in sys.meta_path
    if not getattr(finder, "__module__", "").startswith("__editable__")
]
"""
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
        """Variables for the commit's stages: its own code, the copy's store."""
        return {
            "HEADSTART_CACHE": str(self.store),
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
        for name in ("cache", "site", "guard", "temporary"):
            (folder / name).mkdir()
        for place in (top, made.store, made.scratch):
            place.mkdir(parents=True)
        (folder / "guard" / "sitecustomize.py").write_text(_GUARD, encoding="utf-8")
        _check_out(commit, top)
        _settle(made)
        yield made
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """In the main thread: SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    numbers = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_out(commit: Commit, top: Path) -> None:
    """The commit's files, from the objects of the repository that it was found in."""
    source, copy = Repository(commit.root), Repository(top)
    objects = Path(source.git("rev-parse", "--git-path", "objects").strip())
    kind = source.git("rev-parse", "--show-object-format").strip()
    copy.git("init", "--quiet", f"--object-format={kind}", "--initial-branch=copy")
    alternates = top / ".git" / "objects" / "info" / "alternates"
    alternates.parent.mkdir(parents=True, exist_ok=True)
    alternates.write_text(f"{(commit.root / objects).resolve()}\n", encoding="utf-8")
    try:
        copy.git("-c", "advice.detachedHead=false", "checkout", "--quiet", commit.sha)
        # Of a file that is missing, git says so, leaves it out, and may end well.
        amiss = copy.git("ls-files", "--deleted").splitlines()
        why = f"git has lost the content of {len(amiss)} files ({amiss[0]}, …)." if amiss else ""
    except HeadstartError as error:
        why = str(error)
    if why:
        raise HeadstartError(
            f"The files of commit {commit} could not be brought into a clean copy: {why} (In a "
            "partial clone, `git fetch --refetch --no-filter` brings what is missing.)"
        )


def _settle(made: Copy) -> None:
    """Give DVC in the copy a cache and notes of its own."""
    settings = made.project / ".dvc"
    if settings.is_dir():
        places = {name: quoted(str(made.folder / name)) for name in ("site", "cache")}
        text = _CONFIG.format(**places)
        (settings / "config.local").write_text(text, encoding="utf-8")


def add_missing(made: Copy, root: Path, paths: Iterable[str]) -> tuple[str, ...]:
    """Copy what git does not know of from the user's folder: images that a commit only names.

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
        If they need more room than there is.
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
            f"room for {free:,}. Nothing was run. Make room, or name another place in TMPDIR."
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
    """Copy the recorded features of a store into the copy's own; return how many files."""
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

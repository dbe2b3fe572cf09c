"""Guard the inputs of a stage: detect one that is damaged, or changes while the stage runs.

DVC hashes dependencies only when the command has ended, and would record a file that changed
during the run together with the old result.

DVC keeps the hashes that it computed in a database whose location and format only DVC knows, and
importing DVC takes a second. So this module keeps a separate record for large files and for folders
of many files, and trusts it as DVC does: while a file's size, inode and times are those with which
it was hashed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headstart._utils.errors import HeadstartError, InputChangedError
from headstart._utils.files import files_below, md5_file
from headstart._utils.names import shown
from headstart._utils.stamps import RecordedHashes, Stamp, stamp
from headstart.stage.recorded_inputs import RecordedInput

#: Files from this size on are in the record, and all files of a folder with this many: a few small
#: ones are hashed faster than looked up.
_LARGE = 16 << 20
_MANY = 1000
_UNREADABLE = "unreadable"


class _Read(NamedTuple):
    stamp: Stamp | None
    settled: bool  # the times are so old that any later write must change them
    md5: str  # DVC's hash, so that a file is read once to compare both


def missing_source(path: str | os.PathLike[str]) -> HeadstartError:
    """Return the error about a source of images that is absent, with the likelier remedy first."""
    if os.fspath(path).endswith(".csv"):
        return HeadstartError(
            f"There is no listing of objects at {os.fspath(path)}, which `download.location` "
            "names. Nothing was run. `headstart list-objects` writes it; then run again. (If the "
            "images are on this machine, name their folder or file there instead.)"
        )
    return HeadstartError(
        f"There is nothing at {os.fspath(path)}, where the images should be. Nothing was run. Name "
        "their folder or file in `download.location` of params.yaml (`headstart recipe NAME --set "
        "download.location=PATH` does it), or put them there. Then run again."
    )


def special_file(path: Path) -> HeadstartError | None:
    """Return the error about a device, pipe or socket in a source; None if there is none.

    DVC hashes the source before it starts a stage, and waits for a pipe forever.
    """
    for name in _special(path):
        return HeadstartError(
            f"{shown(name)} is a device, a pipe or a socket, and no file. Nothing was run: DVC "
            "reads all of the folder, and would wait for it forever. Remove it, or name another "
            "folder in `download.location`. Then run again."
        )
    return None


def _special(path: Path) -> Iterator[str]:
    waiting = [str(path)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as listing:
            for item in listing:
                if item.is_dir(follow_symlinks=False):
                    waiting.append(item.path)
                elif not item.is_file() and Path(item.path).exists() and not item.is_dir():
                    yield item.path


@contextlib.contextmanager
def unchanged(
    inputs: Sequence[Path],
    lazy: Sequence[Path] = (),
    recorded: Mapping[Path, RecordedInput] | None = None,
) -> Iterator[None]:
    """Hash the inputs, run the block, and make sure that they are the same.

    Parameters
    ----------
    inputs : sequence of Path
        Hashed before the block.
    lazy : sequence of Path
        Each file below them is hashed when Python first opens it, and only then.
    recorded : mapping of Path to RecordedInput, optional
        The hashes to expect.

    Raises
    ------
    HeadstartError
        If an input is absent at the start.
    InputChangedError
        If a file that was read is not what it was.
    CorruptFileError
        If a file is not what DVC has recorded.
    """
    known = recorded or {}
    for path in (*inputs, *lazy):
        if not path.exists():
            raise HeadstartError(
                f"The input {path} does not exist. Run the stage that makes it first "
                "(`dvc repro` runs them in order)."
            )
    snapshots = [Snapshot(path) for path in inputs]
    for snapshot in snapshots:
        if snapshot.path in known:
            known[snapshot.path].check(snapshot.hashes())
    watched = [Snapshot(path, lazy=True, recorded=known.get(path)) for path in lazy]
    _watch(watched)
    try:
        yield
    finally:
        for snapshot in watched:
            _watched.remove(snapshot)
    for snapshot in (*snapshots, *watched):
        if not snapshot.holds():
            raise InputChangedError(
                f"The input {snapshot.path} changed while the stage ran, so its result belongs to "
                "neither version. Nothing was recorded. Run again, and do not change the file "
                "until the stage has ended."
            )


class Snapshot:
    """The content of a file or folder at one moment, to be compared with a later one.

    Parameters
    ----------
    path : Path
        Hashed at once. The comparison hashes a file again only if the file system's record of it
        has changed, or was so young that another write might leave no trace in it.
    lazy : bool
        Hash each file when :meth:`opened` names it instead; the others are not compared.
    recorded : RecordedInput, optional
        The hashes that opened files must have.
    """

    def __init__(
        self, path: Path, *, lazy: bool = False, recorded: RecordedInput | None = None
    ) -> None:
        self.path = path
        self._lazy = lazy
        self._prefix = os.path.abspath(path)  # noqa: PTH100 - as `open` names it: links are kept
        self._lock = threading.RLock()
        self._read: dict[str, _Read] = {}
        self._record = RecordedHashes("md5", os.fsdecode(path.absolute()))
        self._recorded = recorded
        self._expected = (recorded.listing() if recorded else None) or {}
        if not lazy:
            self._hash_all()

    def opened(self, path: str) -> None:
        """Hash a file below the folder, or the file itself, unless it was hashed before."""
        full = os.path.abspath(path)  # noqa: PTH100 - as above
        if full != self._prefix and not full.startswith(self._prefix + os.sep):
            return
        name = full[len(self._prefix) :].lstrip(os.sep).replace(os.sep, "/")
        with self._lock:
            if name not in self._read and (self.path / name).is_file():
                self._read[name] = _Read(None, settled=False, md5="")  # hashing opens it, too
                found = self._hash({name: _stamp((self.path / name).stat())})[name]
                if self._recorded is not None and name in self._expected:
                    del self._read[name]  # A damaged file fails whoever opens it.
                    self._recorded.check_file(name, self._expected[name], found.md5)
                self._read[name] = found

    def hashes(self) -> dict[str, str]:
        """Return the MD5 of each file that was hashed, by its path below the folder."""
        return {name: read.md5 for name, read in self._read.items()}

    def holds(self) -> bool:
        """Return True if the content is still the same."""
        self._record.save()
        now = {name: _stamp(status) for name, status in files_below(self.path)}
        if not self._lazy and now.keys() != self._read.keys():
            return False
        return all(
            name in now
            and ((then.settled and then.stamp == now[name]) or self._md5(name) == then.md5)
            for name, then in self._read.items()
        )

    def _hash_all(self) -> None:
        stamps = {name: _stamp(status) for name, status in files_below(self.path)}
        self._read = self._hash(stamps)
        self._record.save()

    def _hash(self, stamps: Mapping[str, Stamp | None]) -> dict[str, _Read]:
        now, many = time.time_ns(), len(stamps) >= _MANY
        kept = {
            name: each for name, each in stamps.items() if each and (many or each.size >= _LARGE)
        }
        known = self._record.known(kept)
        found = {}
        for name, each in stamps.items():
            settled = each is not None and each.settled(now)
            found[name] = _Read(each, settled, known.get(name) or self._md5(name))
            if name in kept and name not in known and found[name].md5 != _UNREADABLE:
                self._record.add(name, kept[name], found[name].md5)
        return found

    def _md5(self, name: str) -> str:
        path = self.path / name
        try:  # A pipe would be waited for, until somebody writes into it.
            return md5_file(path) if path.is_file() else _UNREADABLE
        except OSError:
            return _UNREADABLE


def _stamp(status: os.stat_result | None) -> Stamp | None:
    return None if status is None else stamp(status)


_watched: list[Snapshot] = []
_hooked = threading.Event()


def _watch(snapshots: Sequence[Snapshot]) -> None:
    _watched.extend(snapshots)
    if _watched and not _hooked.is_set():
        _hooked.set()
        sys.addaudithook(_on_event)  # It cannot be removed; without snapshots it does nothing.


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], str | bytes | os.PathLike):
        for snapshot in tuple(_watched):
            snapshot.opened(os.fsdecode(arguments[0]))

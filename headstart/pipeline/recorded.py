"""What dvc.lock records of a commit, and where the recorded bytes are.

The project, its cache and its remote are read, and never written: not even the notes that DVC makes
about a project that it opens.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dvc.config import Config
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import GitFileSystem, LocalFileSystem, get_cloud_fs
from dvc.repo import Repo
from dvc.scm import SCM
from dvc.utils.hydra import apply_overrides

from headstart._utils.errors import HeadstartError
from headstart.pipeline.dvc_project import name_of, path_of
from headstart.pipeline.git import Commit

_CHUNK = 1 << 20
FOLDER = ".dir"  # ends the hash of a folder


class RecordError(HeadstartError):
    """What a commit says of its pipeline cannot be read."""


@dataclass(frozen=True)
class Output:
    """A file or folder that a stage wrote; ``md5`` is "" if dvc.lock has none for it."""

    path: str
    md5: str
    files: int | None
    cached: bool
    metric: bool


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage read; ``md5`` as of :class:`Output`."""

    md5: str
    files: int | None


@dataclass(frozen=True)
class Record:
    """A stage with what dvc.lock has of it: ``deps`` by path, without parameters.

    Paths are relative to the project's folder, unless dvc.yaml has an absolute one.
    """

    name: str
    cmd: tuple[str, ...]
    meta: Mapping[str, Any]
    deps: Mapping[str, Input]
    outs: tuple[Output, ...]


def records(root: Path, what: str = "") -> dict[str, Record]:
    """The stages of a project's folder by name, in the order of dvc.yaml.

    Parameters
    ----------
    root : Path
    what : str
        What a message calls it; "": by its path.

    Raises
    ------
    RecordError
        If DVC cannot read it.
    """
    with _explained(what or str(root)), Repo(os.fspath(root)) as repo:
        return _records(repo)


def records_of(commit: Commit) -> dict[str, Record]:
    """The same of a commit, read from git alone. Errors as in :func:`records`."""
    with _explained(f"commit {commit}"):
        scm = SCM(os.fspath(commit.root))
        fs = GitFileSystem(scm=scm, rev=commit.sha)
        with Repo(f"/{commit.prefix}".rstrip("/") or "/", fs=fs, scm=scm) as repo:
            return _records(repo)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except NotDvcRepoError:
        raise RecordError(
            f"There is no DVC pipeline in {what}: it is from before there was one, or of another "
            "project."
        ) from None
    except DvcException as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise RecordError(f"DVC cannot read the pipeline of {what}: {error}{cause}") from error


def _records(repo: Any) -> dict[str, Record]:
    found = {}
    for stage in repo.index.stages:
        if stage.cmd:
            record = _record(repo, stage)
            found[record.name] = record
    return found


def _record(repo: Any, stage: Any) -> Record:
    def path(item: Any) -> str:
        if Path(item.def_path).is_absolute():
            return str(item.def_path)
        return path_of(repo, item)

    return Record(
        name=name_of(repo, stage),
        cmd=tuple(stage.cmd if isinstance(stage.cmd, list) else [stage.cmd]),
        meta=dict(stage.meta or {}),
        deps={
            path(dep): Input(_md5(dep), dep.meta.nfiles)
            for dep in stage.deps
            if not isinstance(dep, ParamsDependency)
        },
        outs=tuple(
            Output(path(out), _md5(out), out.meta.nfiles, bool(out.use_cache), bool(out.metric))
            for out in stage.outs
        ),
    )


def _md5(item: Any) -> str:
    # Lock files of DVC 2 hash text in another way; such bytes are under another name.
    known = item.hash_info and item.hash_info.name == "md5"
    return str(item.hash_info.value) if known else ""


def change(params: Path, assignments: Sequence[str]) -> None:
    """Set values in a parameter file, as ``dvc exp run -S`` does. Its comments are lost.

    Raises
    ------
    RecordError
        If an assignment is none, or names a parameter that there is not.
    """
    try:
        apply_overrides(os.fspath(params), list(assignments))
    except Exception as error:  # Hydra's own and OmegaConf's have no family in common.
        cause = " ".join(str(error.__cause__ or error).split())
        raise RecordError(
            f"{', '.join(assignments)} cannot be set in {params.name}: {cause}. Nothing was run. A "
            "value is set as section.key=value, with a key that the file has."
        ) from error


@dataclass
class Storage:
    """The recorded bytes of a project: its DVC cache, then its default remote, as it is set now.

    Nothing is believed: what is copied is hashed on the way.

    Parameters
    ----------
    root : Path
        The project's folder, whose ``.dvc/config`` and ``.dvc/config.local`` say where they are.

    Attributes
    ----------
    faults : list of str
        Why a place could not be asked, or what it gave instead.
    """

    root: Path
    faults: list[str] = field(default_factory=list)
    _places: list[tuple[str, Any, str]] | None = None

    def fetch(self, md5: str, target: Path) -> str | None:
        """Copy the file of that hash to ``target``; say where from, or None if it is nowhere."""
        if not md5:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        for place in list(self._open()):
            name, fs, base = place
            try:
                got = _copy(fs, fs.join(base, "files", "md5", md5[:2], md5[2:]), target)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever the library of a cloud raises
                self.faults.append(f"{name} could not be read: {error}")
                self._open().remove(place)
                continue
            if got == md5.removesuffix(FOLDER):
                return name
            self.faults.append(f"{name} holds a damaged file under {md5}; it was not used")
        with suppress(FileNotFoundError):
            target.unlink()
        return None

    def listing(self, md5: str, scratch: Path) -> dict[str, str] | None:
        """The files of a recorded folder with their hashes; None if the list is nowhere.

        Raises
        ------
        RecordError
            If the list names a path outside of the folder.
        """
        if self.fetch(md5, scratch) is None:
            return None
        try:
            entries = json.loads(scratch.read_bytes())
            found = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"The recorded list of files {md5} cannot be read: {error}") from None
        for path in found:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not path:
                raise RecordError(f"The recorded list of files {md5} names {path!r}. Not used.")
        return found

    def restore(self, output: Output, folder: Path, scratch: Path) -> str | None:
        """Put an output into ``folder`` as it was recorded; say where from, or None: nowhere."""
        target = folder / output.path
        if not output.md5.endswith(FOLDER):
            return self.fetch(output.md5, target)
        files = self.listing(output.md5, scratch)
        if files is None:
            return None
        target.mkdir(parents=True, exist_ok=True)
        places: dict[str, None] = {}
        for path, md5 in files.items():
            place = self.fetch(md5, target / path)
            if place is None:
                return None
            places[place] = None
        return " and ".join(places) or "its list alone (it is empty)"

    def _open(self) -> list[tuple[str, Any, str]]:
        if self._places is None:
            self._places = self._find()
        return self._places

    def _find(self) -> list[tuple[str, Any, str]]:
        config = Config(os.fspath(self.root / ".dvc"))
        cache = config["cache"].get("dir") or self.root / ".dvc" / "cache"
        places: list[tuple[str, Any, str]] = [("DVC's cache", LocalFileSystem(), os.fspath(cache))]
        name = config["core"].get("remote")
        if name:
            try:
                kind, options, path = get_cloud_fs(config, name=name)
                places.append((f"the remote `{name}`", kind(**options), path))
            except Exception as error:  # noqa: BLE001 - a library that is not there, bad settings
                self.faults.append(f"The remote `{name}` could not be opened: {error}")
        return places


def _copy(fs: Any, source: str, target: Path) -> str:
    """Copy a file, and return the md5 of what was read."""
    digest = hashlib.md5(usedforsecurity=False)
    with fs.open(source, "rb") as file, target.open("wb") as out:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def md5_file(path: Path) -> str:
    """Hex md5 of a file, as DVC has it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def md5_tree(path: Path) -> tuple[str, dict[str, str]]:
    """The md5 of a file or folder as dvc.lock has it, and that of each file of a folder.

    A folder's is that of the JSON list of its files, sorted by path.
    """
    if not path.is_dir():
        return md5_file(path), {}
    files = {
        file.relative_to(path).as_posix(): md5_file(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    entries = sorted(
        ({"md5": md5, "relpath": name} for name, md5 in files.items()),
        key=lambda entry: entry["relpath"],
    )
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + FOLDER, files

"""The records in the dvc.lock of a folder or a commit, and the hashes to compare with.

The project is only read: not even DVC's notes about an opened project are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.fs import GitFileSystem
from dvc.repo import Repo
from dvc.scm import SCM
from dvc.utils.hydra import apply_overrides

from headstart._utils.errors import HeadstartError
from headstart._utils.files import md5_file, md5_listing
from headstart.pipeline.git import Commit
from headstart.pipeline.graph import commands_of, name_of, path_of, unreadable


class RecordError(HeadstartError):
    """The pipeline of a commit cannot be read."""


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
    """Return the stages of a project's folder by name, in the order of dvc.yaml.

    Parameters
    ----------
    root : Path
    what : str
        The name of the project in messages; "" for its path.

    Raises
    ------
    RecordError
        If DVC cannot read it.
    """
    with _explained(what or str(root)), Repo(os.fspath(root)) as repo:
        return _records(repo)


def records_of(commit: Commit) -> dict[str, Record]:
    """Return those of a commit, read from git alone. Errors as in :func:`records`."""
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
        raise RecordError(unreadable(what, error)) from error


def _records(repo: Any) -> dict[str, Record]:
    return {name_of(repo, stage): _record(repo, stage) for stage in repo.index.stages if stage.cmd}


def _record(repo: Any, stage: Any) -> Record:
    def path(item: Any) -> str:
        absolute = Path(item.def_path).is_absolute()
        return str(item.def_path) if absolute else path_of(repo, item)

    return Record(
        name=name_of(repo, stage),
        cmd=commands_of(stage),
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
        If an assignment is invalid, or names an unknown parameter.
    """
    try:
        apply_overrides(os.fspath(params), list(assignments))
    except Exception as error:  # Hydra's and OmegaConf's errors share no base class.
        cause = " ".join(str(error.__cause__ or error).split())
        raise RecordError(
            f"{', '.join(assignments)} cannot be set in {params.name}: {cause}. Nothing was run. A "
            "value is set as section.key=value, with a key that the file has."
        ) from error


def md5_tree(path: Path) -> tuple[str, dict[str, str]]:
    """Return the md5 of a file or folder as dvc.lock has it, and of each file of a folder."""
    if not path.is_dir():
        return md5_file(path), {}
    files = {
        file.relative_to(path).as_posix(): md5_file(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return md5_listing(files), files

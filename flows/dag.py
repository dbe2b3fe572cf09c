"""DVC's graph and what changed in it, as plain records. Beside `recorded` the only importer of DVC.

Reads in-process and takes no lock, so that it answers while a run is going on (what a running
stage has not written yet counts as missing then). Nothing is written but DVC's own index of hashes.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc_data.hashfile.hash_info import HashInfo

from flows.errors import FlowError


class GraphError(FlowError):
    """DVC cannot read the project."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml; with ``foreach`` or ``matrix``, one of those that it stands for.

    Paths are relative to the project's folder, with ``/``.

    Attributes
    ----------
    name : str
        As DVC addresses it: ``features``, ``features@resnet``.
    desc : str
    cmd : tuple of str
        Its commands, parameters filled in.
    deps, outs, metrics, plots : tuple of str
        ``deps`` without parameters, ``outs`` without metrics and plots.
    params : tuple of str
        Watched parameters: ``seed``, ``split.test``, or a section.
    meta : mapping
        The ``meta`` of dvc.yaml: retries, timeout_s.
    parents : tuple of str
        Stages that make something that it reads, in the graph's order.
    """

    name: str
    desc: str
    cmd: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    metrics: tuple[str, ...]
    plots: tuple[str, ...]
    params: tuple[str, ...]
    meta: Mapping[str, Any]
    parents: tuple[str, ...]

    @property
    def written(self) -> tuple[str, ...]:
        """Everything that it writes."""
        return self.outs + self.metrics + self.plots


@dataclass(frozen=True)
class ParamChange:
    """A parameter whose value is not the recorded one; ``None``: there is none on that side."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Changes:
    """What tells a stage from its record in dvc.lock. All empty: it is up to date.

    Attributes
    ----------
    never_run : bool
        dvc.lock has no record.
    command, always : bool
        Its command is another one; it is declared to run every time.
    deps, outs : mapping of str to str
        Path to DVC's word for it: modified, deleted, new, not in cache.
    params : tuple of ParamChange
    in_cache : bool
        DVC's cache holds the recorded results, so that they need not be made again.
    known : bool
        DVC's run cache holds the results of the present inputs, from another run. Always False
        if the current folder is not the project's.
    """

    never_run: bool = False
    command: bool = False
    always: bool = False
    deps: Mapping[str, str] = field(default_factory=dict)
    outs: Mapping[str, str] = field(default_factory=dict)
    params: tuple[ParamChange, ...] = ()
    in_cache: bool = False
    known: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing changed."""
        found = (self.never_run, self.command, self.always, self.deps, self.outs, self.params)
        return not any(found)


def stages(root: Path) -> tuple[Stage, ...]:
    """The stages of a project, each after all that it depends on.

    Where the dependencies leave a choice, the order is that of dvc.yaml.

    Parameters
    ----------
    root : Path
        The folder with ``.dvc`` and ``dvc.yaml``.

    Raises
    ------
    GraphError
        If it is no DVC project, or its files are invalid.
    """
    with _project(root) as repo:
        parents = _parents(repo)
        found = {_name(repo, stage): stage for stage in repo.index.stages if stage.cmd}
        order = _ordered(parents)
        place = {name: number for number, name in enumerate(order)}
        return tuple(
            _stage(repo, found[name], tuple(sorted(parents[name], key=place.__getitem__)))
            for name in order
        )


def changes(root: Path) -> Mapping[str, Changes]:
    """What changed in each stage since its record, by name. Errors as in :func:`stages`."""
    with _project(root) as repo:
        return MappingProxyType(
            {_name(repo, stage): _changes(repo, stage) for stage in repo.index.stages if stage.cmd}
        )


@dataclass(frozen=True)
class Kept:
    """The files of a run that are kept beside DVC's cache, by git if by anything.

    Paths are relative to the project's folder, with ``/``; some may not exist, or be ignored by
    git.

    Attributes
    ----------
    locks : tuple of str
        dvc.lock, beside each dvc.yaml that has stages.
    outs : tuple of str
        Outputs that DVC does not cache: dvc.lock names their md5.
    notes : tuple of str
        Metrics that are no stage's output, and so may differ between two runs of one commit.
    ignores : tuple of str
        Where DVC lists cached outputs for git to ignore.
    """

    locks: tuple[str, ...]
    outs: tuple[str, ...]
    notes: tuple[str, ...]
    ignores: tuple[str, ...]


def kept(root: Path) -> Kept:
    """What a run leaves for git to keep. Errors as in :func:`stages`."""
    with _project(root) as repo:
        stages = [stage for stage in repo.index.stages if stage.cmd]
        outs = {_path(repo, out): out.use_cache for stage in stages for out in stage.outs}
        files = {Path(os.path.relpath(stage.path, repo.root_dir)) for stage in stages}
        # The public way to them goes by the current folder, which need not be the project's.
        notes = {
            Path(os.path.relpath(Path(file).parent / path, repo.root_dir)).as_posix()
            for file, paths in repo.index._metrics.items()  # noqa: SLF001 - as said
            for path in paths
        }
        ignores = {(Path(path).parent / ".gitignore").as_posix() for path, c in outs.items() if c}
        return Kept(
            locks=tuple(sorted(file.with_suffix(".lock").as_posix() for file in files)),
            outs=tuple(sorted(path for path, cached in outs.items() if not cached)),
            notes=tuple(sorted(notes - outs.keys())),
            ignores=tuple(sorted(ignores)),
        )


def sequence(root: Path) -> Mapping[str, tuple[str, ...]]:
    """The order in which ``dvc repro`` goes through the stages, by the file that records them.

    Not that of :func:`stages`: DVC starts from the last ones and looks for what they need.

    Returns
    -------
    mapping of str to tuple of str
        ``dvc.lock``, ``folder/dvc.lock`` to the stages' names in it. Errors as in :func:`stages`.
    """
    with _project(root) as repo:
        graph = get_active_graph(repo.index.graph)
        first = [stage for stage in repo.index.stages if _lock(repo, stage) == "dvc.lock"]
        found: dict[str, list[str]] = {}
        for stage in dict.fromkeys([*plan_repro(graph, first), *plan_repro(graph)]):
            if stage.cmd:
                found.setdefault(_lock(repo, stage), []).append(str(stage.name))
        return MappingProxyType({file: tuple(names) for file, names in found.items()})


@contextmanager
def locked(root: Path, *, wait: bool) -> Iterator[None]:
    """Hold DVC's lock of the project, as any command of DVC's does.

    Raises
    ------
    GraphError
        If another command holds it for more than three seconds, and ``wait`` is False.
    """
    with Repo(os.fspath(root), _wait_for_lock=wait) as repo:
        try:
            repo.lock.lock()
        except LockError as error:
            raise GraphError(str(error)) from error
        try:
            yield
        finally:
            repo.lock.unlock()


@contextmanager
def _project(root: Path) -> Iterator[Any]:
    # What DVC notes about an empty folder belongs to a run, not to a question.
    notes = logging.getLogger("dvc")
    level = notes.level
    notes.setLevel(logging.ERROR)
    try:
        with Repo(os.fspath(root)) as repo:
            yield repo
    except NotDvcRepoError:
        raise GraphError(
            f"{root} is no DVC project. Run from the project's folder; in a new copy without a "
            ".dvc folder, run `dvc init` first."
        ) from None
    except DvcException as error:
        causes = f" ({error.__cause__})" if error.__cause__ else ""
        raise GraphError(
            f"DVC cannot read the pipeline: {error}{causes}. Nothing was run. `dvc dag` shows the "
            "same fault in DVC's own words."
        ) from error
    finally:
        notes.setLevel(level)


def _parents(repo: Any) -> dict[str, set[str]]:
    """For each stage with a command, those that it reads from; in the order of dvc.yaml."""
    graph = repo.index.graph  # edges lead from a stage to those that it depends on
    return {
        _name(repo, stage): {_name(repo, other) for other in graph.successors(stage) if other.cmd}
        for stage in repo.index.stages
        if stage.cmd
    }


def _ordered(parents: Mapping[str, set[str]]) -> list[str]:
    """Topological order that keeps the given one wherever it can. DVC refuses cycles."""
    order: list[str] = []
    waiting = list(parents)
    while waiting:
        ready = next(name for name in waiting if parents[name] <= set(order))
        order.append(ready)
        waiting.remove(ready)
    return order


def _stage(repo: Any, stage: Any, parents: tuple[str, ...]) -> Stage:
    written: dict[str, list[str]] = {"outs": [], "metrics": [], "plots": []}
    for out in stage.outs:
        kind = "metrics" if out.metric else "plots" if out.plot else "outs"
        written[kind].append(_path(repo, out))
    commands = stage.cmd if isinstance(stage.cmd, list) else [stage.cmd]
    return Stage(
        name=_name(repo, stage),
        desc=(stage.desc or "").strip(),
        cmd=tuple(commands),
        deps=tuple(_path(repo, dep) for dep in stage.deps if not isinstance(dep, ParamsDependency)),
        params=tuple(name for dep in stage.params for name in dep.params),
        meta=MappingProxyType(dict(stage.meta or {})),
        parents=parents,
        **{kind: tuple(paths) for kind, paths in written.items()},
    )


def _changes(repo: Any, stage: Any) -> Changes:
    if stage.frozen:
        return Changes()
    recorded = any(item.hash_info for item in (*stage.deps, *stage.outs))
    if not recorded:
        return Changes(never_run=True, known=_known(repo, stage))
    watched = set(map(id, stage.params))
    deps = _different(repo, (dep for dep in stage.deps if id(dep) not in watched))
    outs = _different(repo, stage.outs)
    params = tuple(change for dep in stage.params for change in _params(dep))
    command = stage.changed_stage()
    changed = bool(deps or outs or params or command)
    return Changes(
        command=command,
        always=stage.is_callback or stage.always_changed,
        deps=deps,
        outs=outs,
        params=params,
        in_cache=changed and stage.outs_cached(),
        known=changed and _known(repo, stage),
    )


def _different(repo: Any, items: Any) -> dict[str, str]:
    found = {}
    for item in items:
        status = item.status()
        if status:
            found[_path(repo, item)] = str(next(iter(status.values())))
    return found


def _params(dep: Any) -> list[ParamChange]:
    """The values that differ, one entry a leaf, not a section."""
    old = _leaves(dep.hash_info.value or {})
    new = _leaves(dep.read_params())
    return [
        ParamChange(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name to value, as params.yaml would spell it."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found.update(_leaves(value, f"{prefix}{key}."))
        else:
            plain = value if isinstance(value, str) else json.dumps(value, default=str)
            found[f"{prefix}{key}"] = plain
    return found


def _known(repo: Any, stage: Any) -> bool:
    """Whether DVC would take the results from its run cache. Changes ``stage``: ask it last.

    DVC looks relative to the current folder; asked from outside of the project, it finds nothing.
    """
    speaker = logging.getLogger("dvc.stage.cache")
    level = speaker.level
    speaker.setLevel(logging.WARNING)  # it would announce a restoration that does not take place
    try:
        # A run is looked up by the hashes of the present inputs, and only if the recorded results
        # are not taken for those of the present inputs.
        stage.save_deps()
        for out in stage.outs:
            out.hash_info = HashInfo()
        repo.stage_cache.restore(stage, dry=True)
    except (DvcException, OSError):
        return False
    finally:
        speaker.setLevel(level)
    return True


def _name(repo: Any, stage: Any) -> str:
    """As ``dvc repro`` takes it in the project's folder; DVC's own goes by the current one."""
    file = Path(os.path.relpath(stage.path, repo.root_dir)).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


def _lock(repo: Any, stage: Any) -> str:
    file = Path(os.path.relpath(stage.path, repo.root_dir))
    return file.with_suffix(".lock").as_posix()


def _path(repo: Any, item: Any) -> str:
    return Path(os.path.relpath(item.fs_path, repo.root_dir)).as_posix()

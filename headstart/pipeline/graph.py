"""DVC's graph as plain records: the stages, the order that DVC runs them in, what a run leaves.

The project is read in this process and without a lock, so that this works during a run. No other
room imports DVC.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.scm import SCMError

from headstart._utils.errors import HeadstartError, not_a_project
from headstart.stage.inputs import missing_source, special_file


class GraphError(HeadstartError):
    """DVC cannot read the project."""


def not_initialized(root: Path) -> HeadstartError:
    """Return the error for a folder without a .dvc folder."""
    if not (root / "dvc.yaml").is_file():
        return not_a_project(root, "dvc.yaml")
    return GraphError(
        f"{root} is not a DVC project: it has no .dvc folder. Nothing was run. Run from the "
        "project's folder; `headstart init` makes a new project, and `dvc init` restores the "
        "folder in a copy that lacks it."
    )


def unreadable(what: object, error: DvcException) -> str:
    """Return the beginning of a message: DVC cannot read a pipeline, and why."""
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    return f"DVC cannot read the pipeline of {what}: {error}{cause}"


@contextmanager
def opened(root: Path) -> Iterator[Any]:
    """Open a project without a lock. Raises GraphError if DVC cannot read it."""
    # DVC's log lines about an empty folder belong to a run, not to a query.
    notes = logging.getLogger("dvc")
    level = notes.level
    notes.setLevel(logging.ERROR)
    try:
        with Repo(os.fspath(root)) as repo:
            yield repo
    except NotDvcRepoError:
        raise not_initialized(root) from None
    except SCMError:
        raise GraphError(
            f"{root} is not in a git repository, which DVC expects of this project. Nothing was "
            "run. Run `git init` there, or `dvc config core.no_scm true` to do without git."
        ) from None
    except DvcException as error:
        raise GraphError(
            f"{unreadable(root, error)}. Nothing was run. `dvc dag` shows the same fault in DVC's "
            "own words."
        ) from error
    finally:
        notes.setLevel(level)


@contextmanager
def locked(root: Path, *, wait: bool) -> Iterator[None]:
    """Hold DVC's lock of the project, as any DVC command does.

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


def name_of(repo: Any, stage: Any) -> str:
    """Return a stage's name as ``dvc repro`` takes it in the project's folder."""
    file = Path(os.path.relpath(stage.path, repo.root_dir)).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


def lock_of(repo: Any, stage: Any) -> str:
    """Return the lock file that records a stage."""
    file = Path(os.path.relpath(stage.path, repo.root_dir))
    return file.with_suffix(".lock").as_posix()


def path_of(repo: Any, item: Any) -> str:
    """Return the path of a dependency or output, relative to the project, with ``/``."""
    return Path(os.path.relpath(item.fs_path, repo.root_dir)).as_posix()


def commands_of(stage: Any) -> tuple[str, ...]:
    """Return a stage's commands, parameters filled in."""
    return tuple(stage.cmd if isinstance(stage.cmd, list) else [stage.cmd])


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
        """Return the paths of everything that it writes."""
        return self.outs + self.metrics + self.plots

    @property
    def timeout_s(self) -> float | None:
        """Return the seconds that its ``meta`` gives it."""
        seconds = self.meta.get("timeout_s")
        return None if seconds is None else float(seconds)


def stages(root: Path) -> tuple[Stage, ...]:
    """Return the stages of a project, each after all that it depends on.

    Where the dependencies leave a choice, the order is that of dvc.yaml.

    Parameters
    ----------
    root : Path
        The folder with ``.dvc`` and ``dvc.yaml``.

    Raises
    ------
    GraphError
        If it is not a DVC project, has no dvc.yaml, or its files are invalid.
    """
    with opened(root) as repo:
        waiting = [stage for stage in repo.index.stages if stage.cmd]
        if not waiting and not (root / "dvc.yaml").exists():
            raise not_a_project(root, "dvc.yaml")
        # Edges lead from a stage to those that it depends on. DVC refuses cycles.
        graph = repo.index.graph.subgraph(waiting)
        order: list[Any] = []
        while waiting:
            order.append(next(stage for stage in waiting if {*graph[stage]} <= {*order}))
            waiting.remove(order[-1])
        return tuple(_stage(repo, stage, sorted(graph[stage], key=order.index)) for stage in order)


def require_sources(root: Path, stages: Sequence[Stage]) -> None:
    """Refuse a pipeline whose source is absent, or is not made of files only.

    DVC would only say ``[Errno 2]``, or wait forever.

    Raises
    ------
    HeadstartError
        Naming the dependency that is absent and that no stage makes, or is not a file.
    """
    made = [path for stage in stages for path in stage.written]
    for stage in stages:
        for dep in stage.deps:
            if stage.meta.get("source") and (special := special_file(root / dep)):
                raise special
            if (root / dep).exists() or any(Path(dep).is_relative_to(path) for path in made):
                continue
            tracked = next(
                (p for p in (root / dep, *(root / dep).parents) if Path(f"{p}.dvc").is_file()), None
            )
            if tracked is not None:
                raise GraphError(
                    f"There is no {dep}, which the stage `{stage.name}` reads. Nothing was run. "
                    f"DVC has recorded it: `dvc pull {tracked.relative_to(root)}.dvc` fetches it."
                )
            if stage.meta.get("source"):
                outside = dep.startswith("..")  # DVC makes it relative; people gave it absolute
                raise missing_source(os.path.normpath(root / dep) if outside else dep)
            raise GraphError(
                f"There is no {dep}, which the stage `{stage.name}` reads and no stage makes. "
                f"Nothing was run. `git restore {dep}` brings it back if git has it."
            )


@dataclass(frozen=True)
class Kept:
    """The files of a run that only git can keep, because DVC's cache does not.

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
    """Return the files of a run that git keeps. Errors as in :func:`stages`."""
    with opened(root) as repo:
        stages = [stage for stage in repo.index.stages if stage.cmd]
        outs = {path_of(repo, out): out.use_cache for stage in stages for out in stage.outs}
        # The public API uses the current folder, which need not be the project's.
        notes = {
            Path(os.path.relpath(Path(file).parent / path, repo.root_dir)).as_posix()
            for file, paths in repo.index._metrics.items()  # noqa: SLF001 - see above
            for path in paths
        }
        ignores = {(Path(path).parent / ".gitignore").as_posix() for path, c in outs.items() if c}
        return Kept(
            locks=tuple(sorted({lock_of(repo, stage) for stage in stages})),
            outs=tuple(sorted(path for path, cached in outs.items() if not cached)),
            notes=tuple(sorted(notes - outs.keys())),
            ignores=tuple(sorted(ignores)),
        )


def sequence(root: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the order in which ``dvc repro`` goes through the stages, by lock file.

    Not that of :func:`stages`: DVC starts from the last ones and looks for what they need.

    Returns
    -------
    mapping of str to tuple of str
        ``dvc.lock``, ``folder/dvc.lock`` to the stages' names in it. Errors as in :func:`stages`.
    """
    with opened(root) as repo:
        graph = get_active_graph(repo.index.graph)
        first = [stage for stage in repo.index.stages if lock_of(repo, stage) == "dvc.lock"]
        found: dict[str, list[str]] = {}
        for stage in dict.fromkeys([*plan_repro(graph, first), *plan_repro(graph)]):
            if stage.cmd:
                found.setdefault(lock_of(repo, stage), []).append(str(stage.name))
        return MappingProxyType({file: tuple(names) for file, names in found.items()})


def _stage(repo: Any, stage: Any, parents: Sequence[Any]) -> Stage:
    written: dict[str, list[str]] = {"outs": [], "metrics": [], "plots": []}
    for out in stage.outs:
        kind = "metrics" if out.metric else "plots" if out.plot else "outs"
        written[kind].append(path_of(repo, out))
    return Stage(
        name=name_of(repo, stage),
        desc=(stage.desc or "").strip(),
        cmd=commands_of(stage),
        deps=tuple(
            path_of(repo, dep) for dep in stage.deps if not isinstance(dep, ParamsDependency)
        ),
        params=tuple(name for dep in stage.params for name in dep.params),
        meta=MappingProxyType(dict(stage.meta or {})),
        parents=tuple(name_of(repo, parent) for parent in parents),
        **{kind: tuple(paths) for kind, paths in written.items()},
    )

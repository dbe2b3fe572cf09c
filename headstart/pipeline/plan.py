"""Plan the next run: the changes since dvc.lock, and a pure function of them.

Nothing is written but DVC's own index of hashes.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from dvc.exceptions import DvcException
from dvc_data.hashfile.hash_info import HashInfo

from headstart._utils.names import without_credentials
from headstart._utils.tables import leaves
from headstart.pipeline.graph import Stage, name_of, opened, path_of


class Fate(StrEnum):
    """The fate of a stage in the next run."""

    RUN = "will run"
    RESTORE = "will be restored"  # from DVC's cache, without running
    MAY = "may run"  # if what an earlier stage makes is not what it made last time
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Planned:
    """A stage, its fate, and the reasons; none for an unchanged stage."""

    stage: Stage
    fate: Fate
    reasons: tuple[str, ...] = ()


def plan(stages: Sequence[Stage], changes: Mapping[str, Changes]) -> tuple[Planned, ...]:
    """Decide for each stage whether the next run would run it.

    Parameters
    ----------
    stages : sequence of Stage
        In the graph's order, as :func:`headstart.pipeline.graph.stages` gives them.
    changes : mapping of str to Changes
        By stage; a stage that is not in it is unchanged.

    Returns
    -------
    tuple of Planned
        In the same order.
    """
    planned: dict[str, Planned] = {}
    same: set[str] = set()  # stages of which the recorded files come back, unchanged
    for stage in stages:
        change = changes.get(stage.name, Changes())
        moving = [planned[name] for name in stage.parents if planned[name].fate != Fate.UNCHANGED]
        remade = {path for parent in moving for path in parent.stage.written}
        inputs = _inputs(change, remade)
        outs = _outs(change)
        waits = tuple(f"{p.stage.name} {p.fate}" for p in moving if p.stage.name not in same)
        fate = _fate(change, inputs=bool(inputs), outs=bool(outs), waits=bool(waits))
        if fate == Fate.RESTORE and not inputs and change.in_cache:
            same.add(stage.name)
        reasons = {Fate.UNCHANGED: (), Fate.MAY: (*outs, *waits)}.get(fate, (*inputs, *outs))
        planned[stage.name] = Planned(stage, fate, reasons)
    return tuple(planned.values())


def _fate(change: Changes, *, inputs: bool, outs: bool, waits: bool) -> Fate:
    """Decide the fate from differing inputs, missing outputs and unfinished earlier stages."""
    if inputs:
        return Fate.RESTORE if change.known and not waits else Fate.RUN
    if waits:
        return Fate.RUN if outs and not change.in_cache else Fate.MAY
    if outs:
        return Fate.RESTORE if change.in_cache or change.known else Fate.RUN
    return Fate.UNCHANGED


def _inputs(change: Changes, remade: set[str]) -> tuple[str, ...]:
    """Return the differences in a stage's inputs, without files that are made again."""
    reasons = []
    if change.never_run:
        reasons.append("never run")
    if change.always:
        reasons.append("runs every time")
    if change.command:
        reasons.append("its command changed")
    for param in change.params:
        if param.old is None:
            reasons.append(f"{param.name}: {param.new} (new)")
        elif param.new is None:
            reasons.append(f"{param.name}: was {param.old}, was removed")
        else:
            reasons.append(f"{param.name}: {param.old} → {param.new}")
    for path, word in change.deps.items():
        if path not in remade:
            reasons.append(f"{path} is missing" if word == "deleted" else f"{path} changed")
    return tuple(reasons)


def _outs(change: Changes) -> tuple[str, ...]:
    words = {"deleted": "is missing", "not in cache": "is not in DVC's cache"}
    return tuple(f"{path} {words.get(word, 'was changed')}" for path, word in change.outs.items())


class Commanded(Protocol):
    """An object with commands: a stage, or the record of one."""

    @property
    def cmd(self) -> tuple[str, ...]:
        """Return its commands, parameters filled in."""


def options(stage: Commanded) -> dict[str, str]:
    """Return the options of a stage's ``python -m`` command: ``manifest`` to its path, and so on.

    With them, no path of a stage's files is written in a second place.
    """
    words = shlex.split(stage.cmd[-1])
    return {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in pairwise(words)
        if name.startswith("--")
    }


def module(stage: Commanded) -> str:
    """Return the module that a stage's ``python -m`` command runs; "" for other commands."""
    words = shlex.split(stage.cmd[-1])
    return next((word for flag, word in pairwise(words) if flag == "-m"), "")


@dataclass(frozen=True)
class ParamChange:
    """A parameter whose value is not the recorded one; ``None``: there is none on that side."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Changes:
    """Differences between a stage and its record in dvc.lock. All empty: it is up to date.

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


def changes(root: Path) -> Mapping[str, Changes]:
    """Return the changes in each stage since its record, by name.

    Takes no lock; what a running stage has not written yet counts as missing.

    Raises
    ------
    GraphError
        If it is not a DVC project, or its files are invalid.
    """
    with opened(root) as repo:
        return MappingProxyType(
            {
                name_of(repo, stage): _changes(repo, stage)
                for stage in repo.index.stages
                if stage.cmd
            }
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
            found[path_of(repo, item)] = str(next(iter(status.values())))
    return found


def _params(dep: Any) -> list[ParamChange]:
    """Return the values that differ, one entry per leaf, not per section."""
    old, new = (
        {name: _spelled(value) for name, value in leaves(values).items()}
        for values in (dep.hash_info.value or {}, dep.read_params())
    )
    return [
        ParamChange(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]


def _spelled(value: Any) -> str:
    """Return a value as params.yaml would spell it, without the credentials of an address."""
    return without_credentials(value) if isinstance(value, str) else json.dumps(value, default=str)


def _known(repo: Any, stage: Any) -> bool:
    """Return whether DVC would take the results from its run cache; changes ``stage``.

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

"""What a run would do, and why: a pure function of DVC's graph and what changed in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from headstart.pipeline.changes import Changes
from headstart.pipeline.graph import Stage


class Fate(StrEnum):
    """What becomes of a stage in the next run."""

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
    """Decide by whether inputs differ, outputs are amiss, and an earlier stage may change more."""
    if inputs:
        return Fate.RESTORE if change.known and not waits else Fate.RUN
    if waits:
        return Fate.RUN if outs and not change.in_cache else Fate.MAY
    if outs:
        return Fate.RESTORE if change.in_cache or change.known else Fate.RUN
    return Fate.UNCHANGED


def _inputs(change: Changes, remade: set[str]) -> tuple[str, ...]:
    """What differs of that which the stage starts from, but for files that are made again."""
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
            reasons.append(f"{param.name}: was {param.old}, is gone")
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
    """What has commands: a stage, or the record of one."""

    @property
    def cmd(self) -> tuple[str, ...]:
        """Its commands, parameters filled in."""


def options(stage: Commanded) -> dict[str, str]:
    """The options of a stage's ``python -m`` command: ``manifest`` to its path, and so on.

    So nobody types a second time where a stage's files are.
    """
    words = shlex.split(stage.cmd[-1])
    return {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in pairwise(words)
        if name.startswith("--")
    }


def module(stage: Commanded) -> str:
    """The module that a stage's ``python -m`` command runs; "" if it is another kind of command."""
    words = shlex.split(stage.cmd[-1])
    return next((word for flag, word in pairwise(words) if flag == "-m"), "")

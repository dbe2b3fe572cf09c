"""What changed in each stage since its record in dvc.lock, and whether DVC's caches help.

Nothing is written but DVC's own index of hashes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dvc.exceptions import DvcException
from dvc_data.hashfile.hash_info import HashInfo

from headstart._utils.tables import leaves
from headstart.pipeline.dvc_project import name_of, opened, path_of


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


def changes(root: Path) -> Mapping[str, Changes]:
    """What changed in each stage since its record, by name.

    Takes no lock; what a running stage has not written yet counts as missing.

    Raises
    ------
    GraphError
        If it is no DVC project, or its files are invalid.
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
    """The values that differ, one entry a leaf, not a section."""
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
    """As params.yaml would spell it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


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

"""Parameters as experiments of DVC: run in a copy, kept beside the commit, the folder untouched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError
from headstart.pipeline.graph import Stage, stages

_LINES = 12


def names(root: Path) -> set[str]:
    """Return the names of the experiments of the current commit.

    Raises
    ------
    HeadstartError
        If DVC cannot list them.
    """
    return set(_dvc(root, "exp", "list", "--name-only").split())


def keep(root: Path, name: str, changes: Mapping[str, Any], first: str) -> None:
    """Run the pipeline with other parameters, and keep the results as an experiment.

    Parameters
    ----------
    root : Path
        The project's folder; it stays as it is.
    name : str
        Of the experiment.
    changes : mapping of str to object
        Values by key of params.yaml.
    first : str
        The first stage that they can change. Those before it are not looked at: a copy has no
        images that git and DVC do not know.

    Raises
    ------
    HeadstartError
        With DVC's last lines, if the run fails.
    """
    # JSON is what DVC reads a value as: [128], null, true, 0.001.
    sets = [f"--set-param={key}={json.dumps(value)}" for key, value in changes.items()]
    targets = [*_beside(stages(root), first), first]
    _dvc(root, "exp", "run", "--temp", f"--name={name}", "--downstream", *sets, *targets)


def _beside(stages: Sequence[Stage], first: str) -> list[str]:
    """Return the stages that a stage does not need, but those after it do.

    DVC puts only what its targets need into the copy.
    """
    after, parents = {first}, {stage.name: stage.parents for stage in stages}
    for stage in stages:
        if after.intersection(stage.parents):
            after.add(stage.name)
    before, waiting = set[str](), [first]
    while waiting:
        found = set(parents.get(waiting.pop(), ())) - before
        before |= found
        waiting += found
    needed = {parent for name in after for parent in parents.get(name, ())}
    return sorted(needed - after - before)


def _dvc(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-_LINES:]
        raise HeadstartError(f"`dvc {' '.join(words)}` failed:\n" + "\n".join(last))
    return done.stdout

"""Every step of every write of every stage, struck by a kill, a full disk and a failing disk.

A stage runs with the fault at its first step, its second, and so on until it passes without meeting
one. After each, the outputs are absent or whole; without the fault, a run gives the clean hashes.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from headstart._utils.faults import ACTIONS, VARIABLE
from tests.faults import tally
from tests.faults.project import Ended, Project, explained
from tools.contract import declared

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
#: These take seconds. Unless HEADSTART_FAULTS is ``all``, each of their points gets one of the
#: actions, in turn, and they run again after each kill; the others get all three, with a run after
#: each.
_SLOW = {"backbone", "train_head", "fine_tune", "export", "make_report"}
_STRUCK = re.compile(rf"^{VARIABLE}: (\w+):(\d+):(\w+) at (.+)$", re.MULTILINE)
_CURE = re.compile(r"[Tt]hen run again|[Tt]hen, run again|then run again")


def in_short(stage: str) -> bool:
    return stage in _SLOW and os.environ.get("HEADSTART_FAULTS") != "all"


def actions(stage: str, number: int) -> tuple[str, ...]:
    if in_short(stage):
        return (ACTIONS[number % len(ACTIONS)],)
    return ACTIONS


@pytest.mark.parametrize("stage", list(declared()))
def test_every_step_of_a_stage(project: Project, stage: str) -> None:
    number, going = 0, True
    while going:
        number += 1
        for action in actions(stage, number):
            going = strike(project, stage, number, action) and going
    assert number > 3
    tally.add(stage, points=number - 1)


def strike(project: Project, stage: str, number: int, action: str) -> bool:
    """Run a stage with a fault at a step, and again without it; return False if it has none."""
    if number % 2:
        project.remove_outputs(stage)  # as DVC does; the other half replaces what is there
    ended = project.run(stage, HEADSTART_FAULT=f"any:{number}:{action}")
    struck = _STRUCK.search(ended.stderr)
    if struck is None:
        assert ended.code == 0, ended.stderr
        assert project.hashes(stage) == project.wanted(stage)
        return False
    where = f"{stage}, {struck[0]}\n{ended.stderr}"
    check_end(ended, action, Path(struck[4]), where)
    wanted = project.wanted(stage)
    for path, found in project.hashes(stage).items():
        assert found == wanted[path], f"{where}\nleft a part of {path}"
    if action == "kill" or not in_short(stage):
        again = project.run(stage)
        assert again.code == 0, f"{where}\nand then, without the fault:\n{again.stderr}"
        assert project.hashes(stage) == wanted, f"{where}\nand then other bytes than before"
        tally.add(stage, runs_after=1)
    assert project.leftovers() == [], where
    tally.add(stage, **{{"kill": "kills", "enospc": "full_disks", "eio": "EIOs"}[action]: 1})
    return True


def check_end(ended: Ended, action: str, target: Path, where: str) -> None:
    if action == "kill":
        assert ended.code in {-signal.SIGKILL, 1}, where  # 1: a child of the stage was killed
        assert "Traceback" not in ended.stderr, where
        return
    if ended.code == 0:  # What a run can do without is said, and left out.
        assert len(ended.stderr.splitlines()) > 1, where
        return
    assert ended.code == 1, where
    explained(ended.stderr, names={"file": target.name})
    assert _CURE.search(ended.stderr), where

"""Every stage on a disk that is really full: one message, and after making room the clean bytes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults import tally
from tests.faults.project import Project, explained
from tests.stage.test_space import require_namespaces

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def test_every_stage_on_a_full_disk(project: Project) -> None:
    require_namespaces()
    with subprocess.Popen(
        ["unshare", "-Urm", sys.executable, "-m", "tests.faults.small_disk", project.folder.parent],
        cwd=project.folder, env=project.variables, text=True, stdout=subprocess.PIPE,
    ) as runs:  # fmt: skip
        assert runs.stdout is not None
        found = [json.loads(line) for line in runs.stdout if line.startswith("{")]
    assert runs.returncode == 0
    assert {each["stage"] for each in found} == set(project.stages)
    for each in found:
        where = json.dumps(each, indent=1)
        # With a little room, a stage that writes little passes.
        assert each["code"] == 1 or (each["code"] == 0 and each["free"]), where
        if each["code"]:
            explained(each["said"], names={"file": "data", "free space": " free"})
            assert each["said"].count("Error: ") == 1, where
            assert "run again" in each["said"] or "Make room" in each["said"], where
            tally.add("a full disk", refused=1)
        else:
            tally.add("a full disk", passed=1)
        assert each["again"] == 0, where
        assert each["same"], where

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs.server import Kept, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="goes by /proc")

# A command whose child leaves its session, and is orphaned.
FAMILY = ["sh", "-c", "(setsid sleep 1234.5 &) ; echo ready ; exec sleep 1234.5"]


def sleepers(folder: Path) -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = (entry / "cmdline").read_bytes() == b"sleep\x001234.5\x00"
            if named and (entry / "cwd").readlink() == folder:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_everything_that_descends_from_a_command_ends_with_the_test(tmp_path: Path) -> None:
    kept = Kept(FAMILY, tmp_path / "log", os.environ, tmp_path)
    until(lambda: len(sleepers(tmp_path)) == 2, 20, "both sleep")
    kept.close()
    assert not sleepers(tmp_path)


def test_a_killed_command_leaves_its_orphans_to_the_end_of_the_test(tmp_path: Path) -> None:
    kept = Kept(FAMILY, tmp_path / "log", os.environ, tmp_path)
    until(lambda: len(sleepers(tmp_path)) == 2, 20, "both sleep")
    assert kept.alive
    kept.kill()
    until(lambda: not kept.alive, 20, "it is gone")
    assert len(sleepers(tmp_path)) == 1
    kept.close()
    assert not sleepers(tmp_path)


def test_nothing_outlives_tests_that_are_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, time; from tests.runs.server import Kept;"
        f"folder = pathlib.Path(sys.argv[1]);"
        f"kept = Kept({FAMILY!r}, folder / 'log', os.environ, folder); time.sleep(1000)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    try:
        until(lambda: len(sleepers(tmp_path)) == 2, 60, "both sleep")
    finally:
        owner.kill()
        owner.wait()
    until(lambda: not sleepers(tmp_path), 20, "both are gone")

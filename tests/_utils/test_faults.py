"""A fault strikes one step of one write, and what it leaves is whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headstart._utils import faults, files
from headstart._utils.errors import WiringError
from tests.conftest import ROOT

WRITES = """
import sys
from pathlib import Path
from headstart._utils import files
target = Path(sys.argv[1])
with files.atomic_folder(target) as folder:
    files.write_bytes(folder / "a", b"new content")
"""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    faults._reached.clear()
    return monkeypatch


@pytest.mark.parametrize(
    "text", ["", "rename", "rename:1", "rename:0:kill", "no:1:eio", "rename:-1:eio", "open:1:boom"]
)
def test_a_fault_that_cannot_be_is_named(ask: pytest.MonkeyPatch, text: str) -> None:
    ask.setenv(faults.VARIABLE, text)
    with pytest.raises(WiringError, match=r"must be POINT:N:ACTION, such as rename:1:kill\. Got "):
        faults.check()


def test_without_the_variable_nothing_is_wrapped(tmp_path: Path, ask: pytest.MonkeyPatch) -> None:
    ask.delenv(faults.VARIABLE, raising=False)
    with faults.open_file(tmp_path / "a", tmp_path / "a") as file:
        assert not isinstance(file, faults._Halved)
    files.write_bytes(tmp_path / "a", b"1")
    assert not faults._reached


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", ["open", "bytes", "fsync", "rename"])
def test_an_error_before_the_rename_keeps_the_old_file(
    tmp_path: Path, ask: pytest.MonkeyPatch, point: str, action: str
) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    ask.setenv(faults.VARIABLE, f"{point}:2:{action}")
    files.write_bytes(tmp_path / "b", b"first")
    with pytest.raises(OSError, match=str(target)) as raised:
        files.write_bytes(target, b"second")
    assert raised.value.errno == faults._ERRORS[action]
    assert raised.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    files.write_bytes(target, b"third")  # the count has passed
    assert target.read_bytes() == b"third"


@pytest.mark.parametrize("point", ["folder", "fsync", "swap", "swapped"])
def test_an_error_before_the_rename_keeps_the_old_folder(
    tmp_path: Path, ask: pytest.MonkeyPatch, point: str
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("1")
    ask.setenv(faults.VARIABLE, f"{point}:1:enospc")
    with pytest.raises(OSError, match="out"), files.atomic_folder(target) as folder:
        files.write_bytes(folder / "a", b"new")
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("point", [*faults.POINTS][:9])
def test_a_kill_leaves_the_old_folder_the_new_one_or_none(tmp_path: Path, point: str) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("1")
    environment = {**os.environ, faults.VARIABLE: f"{point}:1:kill"}
    command = [sys.executable, "-c", WRITES, str(target)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if point == "member":  # of other writers
        assert done.returncode == 0
    else:
        assert done.returncode == -signal.SIGKILL
        assert done.stderr.startswith(f"HEADSTART_FAULT: {point}:1:kill at ")
    found = sorted(path.name for path in target.iterdir()) if target.exists() else None
    assert found in (["old"], ["a"], None)
    assert (found is None) == (point == "swapped")
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert (target / "a").read_bytes() == b"new content"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_step_is_documented() -> None:
    page = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    for point, meaning in faults.POINTS.items():
        assert f"| `{point}` | {meaning} |" in page

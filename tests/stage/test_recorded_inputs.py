"""A damaged input is found by what DVC has recorded of it, and the cure that is printed works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import md5_listing
from headstart.stage import inputs
from headstart.stage.recorded_inputs import RecordedInput, recorded_inputs, recorded_outputs
from tests.conftest import ROOT
from tests.runs import projects

PIPELINE = """\
stages:
  make:
    cmd: mkdir -p made && cp raw.txt made/a.txt && cp raw.txt alone.txt && echo b > made/b.txt
    deps: [raw.txt]
    outs: [made, alone.txt]
  use:
    cmd: >-
      python -m using --folder made --lazy-folder made --file alone.txt --result result.txt
      --params {params}
    deps: [made, alone.txt, which.txt]
    outs: [result.txt]
"""
USING = '''
"""A stage for tests."""
from headstart.stage import command_line as cli
from headstart.stage.command_line import In, LazyIn, Out

def main({folder}: {kind}, {other}: LazyIn, file: In, result: Out) -> None:
    text = (lazy_folder / "a.txt").read_text() + file.read_text()
    result.write_text(text)

if __name__ == "__main__":
    cli.run(main)
'''


def project(home: Path, *, lazy: bool = False) -> Path:
    """A project whose second stage reads a folder and a file of the first one."""
    folder = home / "project"
    folder.mkdir()
    kind = "LazyIn" if lazy else "In"
    using = USING.format(folder="folder", kind=kind, other="lazy_folder")
    (folder / "using.py").write_text(using)
    pipeline = PIPELINE.format(params=shlex.quote(str(ROOT / "params.yaml")))
    (folder / "dvc.yaml").write_text(pipeline)
    for name in ("params.yaml", "runtime.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "raw.txt").write_text("cat")
    (folder / "which.txt").write_text("1")
    projects.call(folder, "git", "init", "-q")
    projects.dvc(folder, "init", "-q")
    repro(folder)
    return folder


def repro(folder: Path, *words: str) -> str:
    """`dvc repro`, with our library for the stages."""
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "DVC_NO_ANALYTICS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *words], cwd=folder, env=environment, text=True,
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return f"{done.stdout}\nexit code {done.returncode}"


def damage(folder: Path, content: str) -> Path:
    """Change the object of the cache that has the content into "dog", and let DVC restore it."""
    [found] = [
        path
        for path in (folder / ".dvc" / "cache" / "files").rglob("*")
        if path.is_file() and path.read_text() == content
    ]
    mode = found.stat().st_mode
    found.chmod(0o644)
    found.write_text("dog")
    found.chmod(mode)
    shutil.rmtree(folder / "made")
    (folder / "alone.txt").unlink()
    projects.dvc(folder, "checkout")
    (folder / "which.txt").write_text("2")
    return found


@pytest.mark.parametrize("lazy", [False, True])
def test_a_damaged_object_is_named_and_the_doctor_cures_it(tmp_path: Path, *, lazy: bool) -> None:
    folder = project(tmp_path, lazy=lazy)
    damaged = damage(folder, "cat")
    assert (folder / "made" / "a.txt").read_text() == "dog"  # what DVC believes

    said = repro(folder)

    assert "exit code 255" in said, said
    assert "Traceback" not in said
    assert re.search(r"The input (made/a.txt|alone.txt) is not what dvc.lock records of the", said)
    assert str(damaged) in said
    assert "`headstart doctor --remove`" in said

    def doctor(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "headstart", "doctor", *words], cwd=folder, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
        )  # fmt: skip

    found = doctor()
    assert found.returncode == 1, found.stderr
    assert f"Damaged: {damaged} (made/a.txt, alone.txt)" in found.stdout.replace(
        "alone.txt, made/a.txt", "made/a.txt, alone.txt"
    )
    assert damaged.exists()
    assert doctor("--remove").returncode == 0
    assert not damaged.exists()
    assert doctor().returncode == 0
    assert "exit code 0" in repro(folder)
    assert (folder / "result.txt").read_text() == "catcat"


def test_a_file_that_changed_after_its_stage_is_found_and_both_cures_work(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "which.txt").write_text("2")
    (folder / "alone.txt").unlink()
    (folder / "alone.txt").write_text("dog")
    said = repro(folder, "--single-item", "use")
    assert "The input alone.txt is not what dvc.lock records of the stage `make`" in said
    assert "remove alone.txt and run `dvc checkout alone.txt`" in said
    assert "run `dvc commit make`" in said

    changed = shutil.copytree(folder, tmp_path / "changed")
    projects.dvc(changed, "commit", "--force", "make")
    assert "exit code 0" in repro(changed, "--single-item", "use")

    (folder / "alone.txt").unlink()
    projects.dvc(folder, "checkout", "alone.txt")
    assert "exit code 0" in repro(folder, "--single-item", "use")
    assert (folder / "result.txt").read_text() == "catcat"


@pytest.fixture
def recorded(tmp_path: Path) -> RecordedInput:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("1")
    listing = md5_listing({"x": "c4ca4238a0b923820dcc509a6f75849b"})
    return RecordedInput(tmp_path / "d", listing, "make", tmp_path / "cache")


def test_a_folder_as_recorded_passes_without_its_list(recorded: RecordedInput) -> None:
    with inputs.unchanged([recorded.path], recorded={recorded.path: recorded}):
        pass


def test_a_folder_that_differs_is_refused_without_its_list(recorded: RecordedInput) -> None:
    (recorded.path / "x").write_text("2")
    with (
        pytest.raises(CorruptFileError, match="dvc repro --force --single-item make"),
        inputs.unchanged([recorded.path], recorded={recorded.path: recorded}),
    ):
        pass


def test_a_damaged_list_of_files_is_named(recorded: RecordedInput) -> None:
    damaged = recorded.cache / "files" / "md5" / recorded.md5[:2] / recorded.md5[2:]
    damaged.parent.mkdir(parents=True)
    damaged.write_text('[{"md5": "c4ca4238a0b923820dcc509a6f75849b", "relpath": "y"}]')
    (recorded.path / "x").rename(recorded.path / "y")
    with (
        pytest.raises(CorruptFileError, match=f"damaged object of DVC's cache, {damaged}"),
        inputs.unchanged([recorded.path], recorded={recorded.path: recorded}),
    ):
        pass


def test_what_dvc_added_is_checked_against_a_damaged_object_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("['cache']\n    dir = ../objects\n")
    md5 = "c4ca4238a0b923820dcc509a6f75849b"
    raw = Path("raw.txt")
    raw.write_text("2")
    (tmp_path / "raw.txt.dvc").write_text(f"outs:\n- md5: {md5}\n  hash: md5\n  path: raw.txt\n")
    assert recorded_inputs([raw]) == {}  # started by hand
    monkeypatch.setenv("DVC_STAGE", "download")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    known = recorded_inputs([raw])
    with inputs.unchanged([raw], recorded=known):
        pass  # new data, which DVC records next
    damaged = tmp_path / "objects" / "files" / "md5" / md5[:2] / md5[2:]
    damaged.parent.mkdir(parents=True)
    damaged.write_text("2")
    with (
        pytest.raises(CorruptFileError, match="restore it with `dvc pull`"),
        inputs.unchanged([raw], recorded=known),
    ):
        pass


@pytest.mark.parametrize("cached", [False, True])
def test_only_what_dvc_checks_out_is_to_be_checked_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cached: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    md5 = "c4ca4238a0b923820dcc509a6f75849b"  # of "1"
    kept = tmp_path / "cache/files/md5" / md5[:2] / md5[2:]  # in a run that DVC may restore
    kept.parent.mkdir(parents=True)
    kept.write_text("1")
    out = "d/m.json" if cached else "{d/m.json: {cache: false}}"
    Path("dvc.yaml").write_text(f"stages:\n  make:\n    metrics: [{out}]\n")
    metric = RecordedInput(Path("d/m.json"), md5, "make", tmp_path / "cache")
    cure = "remove d/m.json and run `dvc checkout" if cached else "--force --single-item make`"
    with pytest.raises(CorruptFileError, match=cure):
        metric.check({"": "another"})


@pytest.fixture
def waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A project whose dvc.lock was written just now; the seconds that are waited for it."""
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        os.utime("dvc.lock", (0, 0))  # as after a long time

    monkeypatch.setattr(time, "sleep", sleep)
    return slept


@pytest.mark.skipif(sys.platform == "win32", reason="needs the locks of POSIX")
def test_a_lock_file_just_written_is_read_at_once_while_no_dvc_is_at_work(
    waits: list[float],
) -> None:
    import zc.lockfile  # type: ignore[import-untyped]

    held = zc.lockfile.LockFile(".dvc/tmp/lock")  # as DVC does
    assert recorded_outputs(Path("dvc.lock")) == {}
    assert waits
    held.close()
    Path("dvc.lock").touch()
    waits.clear()
    assert recorded_outputs(Path("dvc.lock")) == {}
    assert not waits


def test_without_a_lock_that_can_be_read_a_lock_file_just_written_is_waited_for(
    waits: list[float],
) -> None:
    assert recorded_outputs(Path("dvc.lock")) == {}
    assert waits
    Path(".dvc/tmp/lock").write_text("host|7|claim")  # `core.hardlink_lock`
    Path("dvc.lock").touch()
    waits.clear()
    assert recorded_outputs(Path("dvc.lock")) == {}
    assert waits


@pytest.mark.skipif(sys.platform == "win32", reason="needs the locks of POSIX")
def test_dvc_releases_its_lock_for_its_stages(tmp_path: Path) -> None:
    ask = "from headstart.stage import recorded_inputs as it; print('idle:', it._dvc_is_idle())"
    stage = f'stages:\n  ask:\n    cmd: {shlex.quote(sys.executable)} -c "{ask}"\n'
    (tmp_path / "dvc.yaml").write_text(stage)
    projects.call(tmp_path, "git", "init", "-q")
    projects.dvc(tmp_path, "init", "-q")
    assert "idle: True" in repro(tmp_path)

"""`headstart doctor`: tables, and every fault with its cure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from headstart._utils import machine
from headstart.cli import faults, installed
from headstart.pipeline.stale_locks import stale_locks
from tests.cli.running import run
from tests.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    subprocess.run(["git", "init", "-q", folder], check=True)
    for name in ("dvc.yaml", "params.yaml", "runtime.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".dvc/tmp").mkdir(parents=True)
    (folder / ".dvc/config").touch()
    (folder / "data/raw").mkdir(parents=True)
    shutil.copy(ROOT / "data/corrections.csv", folder / "data")
    for name in ("stages", "headstart"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    return folder


def test_it_shows_what_is_installed_and_where_the_caches_are(
    project: Path, private_store: Path
) -> None:
    store = private_store / "features/x.sqlite"
    store.parent.mkdir(parents=True)
    store.write_bytes(bytes(3_000_000))
    said = run("doctor")
    for name in ("headstart", "tensorflow", "dvc", "serving", "onnx", "Keras' weights"):
        assert f"\n  {name} " in said
    assert f"3 MB  {store.parent}" in said
    assert str(project / ".dvc/cache") in said
    assert "0 objects in DVC's cache, 0 damaged." in said
    assert said.endswith("Nothing stops a run.\n")
    assert "objects" not in run("doctor", "--quick")


def test_it_works_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = run("doctor")
    assert "DVC's cache" not in said
    assert "is not a project" in said


def test_wrong_parameters_and_a_full_disk_stop_a_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("seed: 42", "sed: 42"))
    monkeypatch.setattr(faults, "free_space", lambda _: 5_000_000)
    said = run("doctor", code=1)
    assert "`seed`" in said
    assert "Only 5 MB is free" in said
    assert "`dvc cache dir FOLDER`" in said
    assert "Nothing stops a run" not in said


def test_other_versions_than_the_locked_stop_a_run(project: Path) -> None:
    (project / "runtime.txt").write_text("numpy==0.1\n")
    assert "numpy: 0.1 expected" in run("doctor", code=1)


def test_a_missing_git_is_worth_knowing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    [found] = [fault for fault in faults.of_machine((tmp_path,)) if "no `git`" in str(fault)]
    assert "Install git" in str(found)
    assert not found.stops


def test_git_without_an_identity_is_worth_knowing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    said = run("doctor", "--quick")
    assert "git does not know your user.name and user.email" in said
    assert "Nothing stops a run." in said
    for key, value in (("user.name", "A"), ("user.email", "a@example.org")):  # the printed cure
        subprocess.run(["git", "config", key, value], cwd=project, check=True)
    assert "git does not know" not in run("doctor", "--quick")


def test_a_user_without_a_name_gets_the_remedy_for_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", machine._made_up_name())
    assert any("export USER=me" in str(fault) for fault in faults.of_machine(()))
    monkeypatch.setenv("USER", "ada")
    assert not any("USER" in str(fault) for fault in faults.of_machine(()))


def test_locks_that_nobody_holds_are_found_and_the_printed_cure_removes_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rwlock, index = project / ".dvc/tmp/rwlock", project / ".git/index.lock"
    assert not list(stale_locks(project))
    # Alive, and surely neither DVC nor a Python: the first process.
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: ["/sbin/init"])
    monkeypatch.setattr(psutil, "process_iter", lambda _: [])
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    rwlock.write_text(json.dumps({"write": {"data/features": holder}}))
    index.touch()
    said = run("doctor", "--quick", code=1)
    for path in (rwlock, index):
        assert f"`rm '{path}'`" in said
        subprocess.run(f"rm '{path}'", shell=True, check=True)  # noqa: S602 - the printed cure
    assert "Nothing stops a run." in run("doctor", "--quick")
    rwlock.write_text("{")
    assert "it is damaged" in run("doctor", "--quick", code=1)
    # A number that no process has any more is DVC's own business.
    monkeypatch.setattr(psutil, "pid_exists", lambda _: False)
    rwlock.write_text(json.dumps({"read": {"data/features": [holder]}}))
    assert not list(stale_locks(project))


def test_an_absent_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "absent_packages", lambda: {"onnx": ("tf2onnx",), "tfds": ()})
    rows = dict(installed.extras())
    assert rows["tfds"] == "installed"
    assert rows["onnx"].startswith("not installed: tf2onnx (`")
    assert rows["onnx"].endswith(("dev`)", 'headstart[onnx]"`)'))

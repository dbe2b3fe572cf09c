"""`headstart` alone, and what summary and gate say where nothing has run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from headstart.pipeline.presence import has_run
from tests.cli.running import run
from tests.conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that has what git keeps, and never ran."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", folder], check=True)
    for name in ("dvc.yaml", "dvc.lock", "params.yaml", "runtime.txt", ".dvc", "data/metrics"):
        source = ROOT / name
        if source.is_dir():
            hidden = shutil.ignore_patterns("cache", "tmp", "config.local")
            shutil.copytree(source, folder / name, ignore=hidden)
        else:
            shutil.copy(source, folder / name)
    for name in ("stages", "headstart"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "data/raw").mkdir()
    shutil.copy(ROOT / "data/corrections.csv", folder / "data")
    monkeypatch.chdir(folder)
    return folder


def test_outside_of_a_project_the_next_step_is_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run()
    assert said.startswith(f"{tmp_path} is not a Headstart project.")
    assert "headstart init my-project" in said


def test_in_the_wrong_folder_the_project_is_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (clone / "data", clone.parent):
        monkeypatch.chdir(wrong)
        assert f"cd {clone}" in run()
        said = run("plan", code=1)
        assert f"Change to {clone}, which is one" in said


def test_a_clone_that_never_ran_is_no_old_run_and_passes_no_gate(clone: Path) -> None:
    assert not has_run(clone)
    assert run().startswith("The pipeline has not run in this folder yet.")
    said = run("summary")
    assert said.startswith("NOT RUN HERE: these scores came with the commit.")
    assert "OUT OF DATE" not in said
    assert "Test split:" in said
    said = run("gate", code=1)
    assert "has not run in this folder" in said
    assert "Passed" not in said


def test_a_run_makes_the_next_step_another(clone: Path) -> None:
    (clone / "data/features").mkdir()
    assert has_run(clone)
    said = run()
    assert said.startswith("Inputs have changed since the last run:")
    assert "headstart plan" in said


def test_images_that_are_not_there_are_missed_before_dvc_says_errno_2(clone: Path) -> None:
    there = ("--set", "download.source=folder", "--set", "download.location=/no/where")
    run("recipe", "default", *there)
    for words in ([], ["doctor", "--quick"]):
        said = run(*words, code=1)
        assert "There is nothing at /no/where, where the images should be." in said
        assert "`headstart recipe NAME --set download.location=PATH`" in " ".join(said.split())
    run("recipe", "default")  # the way back
    assert run().startswith("The pipeline has not run in this folder yet.")

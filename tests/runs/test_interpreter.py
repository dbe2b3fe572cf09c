"""The Python of the stages: this one, another one, or one made from the commit's lock."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import Commit, Repository
from headstart.runs import interpreter
from tests.runs import projects, toy


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commit:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "project"
    folder.mkdir()
    projects.git(folder, "init", "-q")
    version = metadata.version("numpy")
    (folder / "runtime.txt").write_text(f"# what decides\nnumpy=={version}  # here\n\n")
    toy.commit(folder, "first")
    return Repository(folder).commit("HEAD")


def choose(python: str | None, commit: Commit, folder: Path) -> Path:
    return interpreter.choose(python, commit, folder, say=print)


def test_this_one_has_what_is_asked_for(commit: Commit, tmp_path: Path) -> None:
    assert choose(None, commit, tmp_path) == Path(sys.executable)


def test_another_one_is_asked_itself(commit: Commit, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True
    )
    bare = tmp_path / "bare/bin/python"
    with pytest.raises(HeadstartError) as caught:
        choose(str(bare), commit, tmp_path)
    assert f"numpy: {metadata.version('numpy')} then, none installed now" in str(caught.value)
    assert str(bare) in str(caught.value)


def test_its_folder_comes_first_on_the_path(tmp_path: Path) -> None:
    found = interpreter.path_variable(tmp_path / "bin/python")["PATH"]
    assert found.split(os.pathsep)[0] == str(tmp_path / "bin")


@pytest.mark.parametrize("name", ["no/such/python", "/etc/hostname", "/bin/false", "/bin/echo"])
def test_a_file_that_is_not_a_python_is_reported(commit: Commit, tmp_path: Path, name: str) -> None:
    with pytest.raises(HeadstartError, match=r"There is no Python at|is not a Python that can"):
        choose(name, commit, tmp_path)


def test_a_commit_without_a_lock_is_reported(commit: Commit, tmp_path: Path) -> None:
    with pytest.raises(
        HeadstartError, match=r"has no requirements\.lock to make an environment from"
    ):
        choose("lock", commit, tmp_path)


@pytest.mark.slow
def test_a_lock_that_cannot_be_installed_is_reported_with_pips_words(
    commit: Commit, tmp_path: Path
) -> None:
    (commit.root / "requirements.lock").write_text("./no-such-folder\n")  # asks no network
    toy.commit(commit.root, "lock")
    with pytest.raises(HeadstartError) as caught:
        choose("lock", Repository(commit.root).commit("HEAD"), tmp_path)
    assert "could not be made with Python" in str(caught.value)
    assert "no-such-folder" in str(caught.value)

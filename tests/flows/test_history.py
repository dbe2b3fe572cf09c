"""What git is asked, and that asking leaves no trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows import history
from flows.history import RevisionError
from tests.flows import toy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "top" / "inner"
    folder.mkdir(parents=True)
    toy.git(folder.parent, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one")
    toy.commit(folder, "first | <b>")
    (folder / "a.txt").write_text("two")
    toy.commit(folder, "second")
    return folder


def test_a_commit_and_its_files_from_a_subfolder(project: Path) -> None:
    first = history.commit(project, "HEAD~1")
    assert first.subject == "first | <b>"
    assert first.prefix == "inner/"
    assert str(first).startswith(f"{first.sha[:12]} (first")
    assert history.content(first, "a.txt") == b"one"
    assert history.content(first, "b.txt") is None


def test_asking_writes_nothing(project: Path) -> None:
    os.utime(project / "a.txt", (1, 1))  # git would note that it looked
    before = toy.state(project.parent)
    history.commit(project, "HEAD")
    assert history.uncommitted(project) == ()
    assert toy.state(project.parent) == before


def test_what_is_not_committed_is_named_and_untracked_files_are_not(project: Path) -> None:
    (project / "a.txt").write_text("three")
    (project / "new.txt").write_text("new")
    assert [Path(path).name for path in history.uncommitted(project)] == ["a.txt"]


def test_variables_of_git_that_name_another_repository_are_left_out(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert history.commit(project, "HEAD").subject == "second"


def test_the_nearest_tag_behind_a_commit(project: Path) -> None:
    assert history.nearest_tag(project, "v*") is None
    toy.git(project, "tag", "v1", "HEAD~1")
    toy.git(project, "tag", "other")
    assert history.nearest_tag(project, "v*") == "v1"
    toy.git(project, "tag", "-a", "-m", "release", "v0.9")  # nearer, whatever its name or age
    assert history.nearest_tag(project, "v*") == "v0.9"
    toy.git(project, "checkout", "-q", "v1")
    assert history.nearest_tag(project, "v*") == "v1"


def test_no_git_on_the_path_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RevisionError, match="no `git` on the path"):
        history.commit(project, "HEAD")

"""What git is asked, and that asking leaves no trace."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import pytest

from headstart.pipeline import git_history
from headstart.pipeline.git_history import RevisionError
from tests.runs import projects, toy


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "top" / "inner"
    folder.mkdir(parents=True)
    projects.git(folder.parent, "init", "-q", "-b", "main")
    (folder / "a.txt").write_text("one")
    toy.commit(folder, "first | <b>")
    (folder / "a.txt").write_text("two")
    toy.commit(folder, "second")
    return folder


def test_a_commit_and_its_files_from_a_subfolder(project: Path) -> None:
    first = git_history.commit(project, "HEAD~1")
    assert first.subject == "first | <b>"
    assert first.prefix == "inner/"
    assert str(first).startswith(f"{first.sha[:12]} (first")
    assert git_history.content(first, "a.txt") == b"one"
    assert git_history.content(first, "b.txt") is None


def test_asking_writes_nothing(project: Path) -> None:
    os.utime(project / "a.txt", (1, 1))  # git would note that it looked
    before = toy.state(project.parent)
    git_history.commit(project, "HEAD")
    assert git_history.uncommitted(project) == ()
    assert toy.state(project.parent) == before


def test_what_is_not_committed_is_named_and_untracked_files_are_not(project: Path) -> None:
    (project / "a.txt").write_text("three")
    (project / "new.txt").write_text("new")
    assert [Path(path).name for path in git_history.uncommitted(project)] == ["a.txt"]


def test_a_file_under_a_new_name_is_named_whole(project: Path) -> None:
    projects.git(project, "mv", "a.txt", "b.txt")
    assert git_history.uncommitted(project) == ("inner/a.txt", "inner/b.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_a_name_that_is_no_text_can_be_told(project: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(project) + b"/Gr\xf6.txt"))
    odd.write_text("one")
    toy.commit(project, "odd")
    odd.write_text("two")
    assert git_history.uncommitted(project) == ("inner/Gr\ufffd.txt",)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("one\x0btwo\u2028three".encode(), "one\x0btwo\u2028three"),  # lines only to Python
        ("Größe".encode("latin-1"), "Größe"),  # git mends it
        (b"", ""),
    ],
)
def test_any_subject_can_be_told_and_leaves_the_date_alone(
    project: Path, subject: bytes, shown: str
) -> None:
    (project / "message").write_bytes(subject)
    words = ("--allow-empty", "--allow-empty-message", "--file", "message")
    projects.git(project, "commit", "-q", *words)
    found = git_history.commit(project, "HEAD")
    assert found.subject == shown
    assert datetime.fromisoformat(found.date).year > 2000
    assert str(found).encode()


def test_variables_of_git_that_name_another_repository_are_left_out(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert git_history.commit(project, "HEAD").subject == "second"


def test_the_nearest_tag_behind_a_commit(project: Path) -> None:
    assert git_history.nearest_tag(project, "v*") is None
    projects.git(project, "tag", "v1", "HEAD~1")
    projects.git(project, "tag", "other")
    assert git_history.nearest_tag(project, "v*") == "v1"
    projects.git(project, "tag", "-a", "-m", "release", "v0.9")  # nearer, whatever its name or age
    assert git_history.nearest_tag(project, "v*") == "v0.9"
    projects.git(project, "checkout", "-q", "v1")
    assert git_history.nearest_tag(project, "v*") == "v1"


def test_no_git_on_the_path_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RevisionError, match="no `git` on the path"):
        git_history.commit(project, "HEAD")

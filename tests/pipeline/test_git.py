"""What git is asked, and that asking leaves no trace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from headstart.pipeline.git import GitError, Repository
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
    first = Repository(project).commit("HEAD~1")
    assert first.subject == "first | <b>"
    assert first.prefix == "inner/"
    assert str(first).startswith(f"{first.sha[:12]} (first")
    assert first.content("a.txt") == b"one"
    assert first.content("b.txt") is None


def test_asking_writes_nothing(project: Path) -> None:
    os.utime(project / "a.txt", (1, 1))  # git would note that it looked
    before = toy.state(project.parent)
    Repository(project).commit("HEAD")
    assert Repository(project).changed() == ()
    assert toy.state(project.parent) == before


def test_what_is_not_committed_is_named_and_untracked_files_are_not(project: Path) -> None:
    (project / "a.txt").write_text("three")
    (project / "new.txt").write_text("new")
    assert Repository(project).changed() == ("a.txt",)


def test_a_file_under_a_new_name_is_named_whole(project: Path) -> None:
    projects.git(project, "mv", "a.txt", "b.txt")
    assert Repository(project).changed() == ("a.txt", "b.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are Unicode there")
def test_a_name_that_is_not_text_is_kept(project: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(project) + b"/Gr\xf6.txt"))
    odd.write_text("one")
    toy.commit(project, "odd")
    odd.write_text("two")
    assert Repository(project).changed() == ("Gr\udcf6.txt",)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("one\x0btwo\u2028three".encode(), "one\x0btwo\u2028three"),  # lines only to Python
        ("Größe".encode("latin-1"), "Größe"),  # git mends it
        (b"", ""),
    ],
)
def test_any_subject_can_be_read_and_leaves_the_date_alone(
    project: Path, subject: bytes, shown: str
) -> None:
    (project / "message").write_bytes(subject)
    words = ("--allow-empty", "--allow-empty-message", "--file", "message")
    projects.git(project, "commit", "-q", *words)
    found = Repository(project).commit("HEAD")
    assert found.subject == shown
    assert datetime.fromisoformat(found.date).year > 2000
    assert str(found).encode()


def test_variables_of_git_that_name_another_repository_are_left_out(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert Repository(project).commit("HEAD").subject == "second"


def test_the_nearest_tag_behind_a_commit(project: Path) -> None:
    assert Repository(project).nearest_tag("v*") is None
    projects.git(project, "tag", "v1", "HEAD~1")
    projects.git(project, "tag", "other")
    assert Repository(project).nearest_tag("v*") == "v1"
    projects.git(project, "tag", "-a", "-m", "release", "v0.9")  # nearer, whatever its name or age
    assert Repository(project).nearest_tag("v*") == "v0.9"
    projects.git(project, "checkout", "-q", "v1")
    assert Repository(project).nearest_tag("v*") == "v1"


def test_no_git_on_the_path_is_reported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GitError, match="no `git` on the path"):
        Repository(project).commit("HEAD")


@pytest.mark.parametrize(
    "ask",
    [
        lambda repository: repository.commit("HEAD"),
        lambda repository: repository.head(),
        lambda repository: repository.nearest_tag("v*"),
        lambda repository: repository.changed(),
    ],
)
def test_outside_of_a_repository_one_sentence_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Repository], object]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match=r"is not in a git repository.*`git init`"):
        ask(Repository(tmp_path))


def test_a_repository_without_a_commit_is_reported(tmp_path: Path) -> None:
    projects.git(tmp_path, "init", "-q")
    with pytest.raises(GitError, match=r"no commit yet.*`git commit`"):
        Repository(tmp_path).head()

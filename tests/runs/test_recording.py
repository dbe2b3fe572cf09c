from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import GitError, Repository
from headstart.runs.recording import RecordingError, before, headline_numbers, record
from tests.runs.projects import dvc, git, make

RECORDED = ["data/figures/words.svg", "data/metrics.json", "data/seconds.json", "dvc.lock"]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Git does not know who commits, and reads nobody's configuration."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="module")
def settled(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that ran, with its results committed."""
    folder = tmp_path_factory.mktemp("settled") / "project"
    shutil.copytree(fresh, folder, symlinks=True)
    dvc(folder, "repro", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")
    return folder


@pytest.fixture
def project(settled: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(settled, folder, symlinks=True)
    return folder


def change(folder: Path, text: str = "one two three four") -> None:
    """Another source, committed: what makes a scheduled run have something to do."""
    (folder / "raw.txt").write_text(text)
    git(folder, "commit", "--quiet", "--all", "--message", text)


def pretend(folder: Path, size: int = 14) -> None:
    """Leave what a run leaves that git keeps, in no time."""
    lock = folder / "dvc.lock"
    lock.write_text(re.sub(r"size: 1\d", f"size: {size}", lock.read_text()))
    (folder / "data" / "metrics.json").write_text(json.dumps({"accuracy": size}))
    (folder / "data" / "seconds.json").write_text(json.dumps({"now": time.time()}))


def everything(folder: Path) -> tuple[str, str, str]:
    """What a commit beside the checkout must leave alone."""
    return (
        git(folder, "rev-parse", "HEAD", "--abbrev-ref", "HEAD"),
        git(folder, "ls-files", "--stage"),
        git(folder, "status", "--porcelain"),
    )


def files(folder: Path, commit: str) -> list[str]:
    return git(folder, "show", "--format=", "--name-only", commit).split()


def test_a_result_gets_a_branch_of_its_own_and_the_checkout_stays(project: Path) -> None:
    change(project)
    untouched = everything(project)
    commit = before(project)
    dvc(project, "repro", "--quiet")
    lock = (project / "dvc.lock").read_text()
    outcomes = {"prepare": "Ran", "train": "Ran"}
    branch = record(project, "fluffy-otter", commit=commit, outcomes=outcomes)
    assert branch == "headstart/runs/fluffy-otter"
    assert everything(project) == untouched
    assert files(project, branch) == RECORDED
    assert git(project, "show", f"{branch}:dvc.lock") == lock
    assert git(project, "rev-parse", f"{branch}^").strip() == commit
    message = git(project, "log", "-1", "--format=%B", branch)
    assert message.startswith("Run fluffy-otter\n\nThe results of commit ")
    assert "one two three four\nRan: prepare, train\n" in message
    assert "accuracy: 2  (was 1.5)" in message
    assert "deeper" not in message
    assert git(project, "log", "-1", "--format=%an %cn", branch) == "Headstart Headstart\n"


def test_git_may_know_who_commits_by_half(project: Path) -> None:
    git(project, "config", "user.email", "me@example.org")
    change(project)
    before(project)
    pretend(project)
    branch = record(project, "night")
    assert branch is not None
    who = git(project, "log", "-1", "--format=%an <%ae> %cn <%ce>", branch)
    assert who == "Headstart <me@example.org> Headstart <me@example.org>\n"


@pytest.mark.parametrize("own", [True, False])
def test_the_way_to_a_remote_is_the_one_in_the_settings_of_git(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    monkeypatch.delenv("GIT_SSH", raising=False)
    (tmp_path / "bin").mkdir()
    for name in ("ssh", "mine"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/called\nexit 1\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if own:
        git(project, "config", "core.sshCommand", "mine -i key")
    with pytest.raises(GitError):
        Repository(project).git("ls-remote", "git@example.org:me/project.git")
    called = (tmp_path / "called").read_text()
    assert called.startswith("mine -i key" if own else "ssh -o BatchMode=yes")


def test_the_commit_is_that_of_a_plain_repro_and_can_be_taken_over(project: Path) -> None:
    change(project)
    commit = before(project)
    dvc(project, "repro", "--quiet")
    branch = record(project, "night", commit=commit)
    assert branch is not None
    git(project, "merge", "--quiet", "--ff-only", branch)
    dvc(project, "checkout", "--quiet")
    assert "up to date" in dvc(project, "status")


def test_the_first_results_of_a_project(fresh: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(fresh, folder, symlinks=True)
    before(folder)
    dvc(folder, "repro", "--quiet")
    branch = record(folder, "first")
    assert branch is not None
    assert files(folder, branch) == RECORDED
    assert not (folder / "dvc.lock").exists()
    assert (folder / "data" / "model.txt").exists()
    git(folder, "checkout", "--quiet", branch)
    assert "up to date" in dvc(folder, "status")


def test_seconds_alone_are_nothing_to_commit(project: Path) -> None:
    before(project)
    (project / "data" / "seconds.json").write_text('{"now": 0}')
    assert record(project, "idle") is None
    assert git(project, "status", "--porcelain") == ""
    assert "refs/heads/headstart" not in git(project, "for-each-ref")


def test_results_that_a_former_run_committed_are_not_committed_again(project: Path) -> None:
    change(project)
    names = []
    for name in ("one", "two"):
        before(project)
        dvc(project, "repro", "--quiet")
        names.append(record(project, name))
    assert names == ["headstart/runs/one", None]
    assert git(project, "status", "--porcelain") == ""
    assert (project / "began.txt").read_text().split().count("prepare") == 2


def test_the_order_of_stages_in_the_lock_is_no_difference(project: Path) -> None:
    before(project)
    head, _, rest = (project / "dvc.lock").read_text().partition("  prepare:\n")
    one, _, two = rest.partition("  train:\n")
    (project / "dvc.lock").write_text(f"{head}  train:\n{two}  prepare:\n{one}")
    assert git(project, "status", "--porcelain") == " M dvc.lock\n"
    assert record(project, "shuffled") is None
    assert git(project, "status", "--porcelain") == ""


def test_a_name_that_is_taken_or_that_git_refuses(project: Path) -> None:
    branches = []
    for number, name in enumerate(["otter", "otter", "../a b..lock~", "???"]):
        change(project, f"one two{' more' * number}")
        before(project)
        pretend(project)
        branches.append(record(project, name))
    assert branches == [
        f"headstart/runs/{name}" for name in ("otter", "otter-2", "a-b-lock", "run")
    ]


def test_a_model_that_the_gate_held_says_so(project: Path) -> None:
    change(project)
    before(project)
    pretend(project)
    branch = record(project, "otter", held=True)
    assert branch is not None
    assert git(project, "log", "-1", "--format=%s", branch) == "Run otter (held by the gate)\n"


@pytest.mark.parametrize("staged", [False, True])
def test_a_dirty_tree_is_refused_before_anything_runs(project: Path, staged: bool) -> None:
    (project / "params.yaml").write_text("rate: 0.9\nseconds: 0\n")
    if staged:
        git(project, "add", "params.yaml")
    with pytest.raises(RecordingError, match=r"params\.yaml differs from commit") as caught:
        before(project)
    assert "Nothing was run" in str(caught.value)
    assert isinstance(caught.value, HeadstartError)


def test_results_of_somebody_that_were_never_committed_are_refused(project: Path) -> None:
    change(project)
    pretend(project)
    with pytest.raises(RecordingError, match=r"data/metrics\.json, data/seconds\.json, dvc\.lock"):
        before(project)


def test_results_that_git_does_not_know_are_refused(fresh: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(fresh, folder, symlinks=True)
    dvc(folder, "repro", "--quiet")
    with pytest.raises(RecordingError, match=r"dvc\.lock differ"):
        before(folder)
    assert (folder / "dvc.lock").exists()


def test_a_run_goes_on_from_what_a_killed_one_left(project: Path) -> None:
    change(project)
    before(project)
    pretend(project)  # and there it was killed
    assert git(project, "status", "--porcelain") != ""
    before(project)
    assert record(project, "second") == "headstart/runs/second"
    assert git(project, "status", "--porcelain") == ""
    (project / "data" / "metrics.json").write_text("somebody's")
    with pytest.raises(RecordingError):
        before(project)


def test_what_a_killed_run_left_excuses_no_other_change(project: Path) -> None:
    before(project)
    (project / "work.py").write_text("")
    with pytest.raises(RecordingError, match=r"work\.py differs"):
        before(project)


def test_a_tree_that_changes_during_the_run_is_not_recorded(project: Path) -> None:
    change(project)
    commit = before(project)
    pretend(project)
    (project / "params.yaml").write_text("rate: 0.9\nseconds: 0\n")
    with pytest.raises(RecordingError, match=r"params\.yaml changed"):
        record(project, "night", commit=commit)
    assert (project / "params.yaml").read_text() == "rate: 0.9\nseconds: 0\n"
    git(project, "commit", "--quiet", "--message", "meanwhile", "params.yaml")
    with pytest.raises(RecordingError, match="another commit was checked out"):
        record(project, "night", commit=commit)
    assert "headstart" not in git(project, "for-each-ref")


def test_a_folder_without_a_commit(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="is not in a git repository"):
        before(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(GitError, match="has no commit yet"):
        before(tmp_path)


def test_a_project_below_the_top_of_its_repository(project: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    git(top, "init", "--quiet")
    shutil.copytree(project, top / "inner", ignore=shutil.ignore_patterns(".git"))
    shutil.rmtree(top / "inner" / ".dvc")
    dvc(top / "inner", "init", "--quiet", "--subdir")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "moved")
    change(top / "inner")
    before(top / "inner")
    pretend(top / "inner")
    branch = record(top / "inner", "night")
    assert branch is not None
    assert "inner/dvc.lock" in files(top, branch)
    assert git(top, "status", "--porcelain") == ""


@pytest.fixture
def cloned(settled: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bare repository, and a shallow clone of it as Prefect makes one."""
    origin = tmp_path / "origin.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(settled), str(origin))
    return origin, clone(origin, tmp_path / "clone")


def clone(origin: Path, folder: Path) -> Path:
    git(origin, "clone", "--quiet", "--depth", "1", origin.as_uri(), str(folder))
    return folder


def test_pushed_from_a_shallow_clone_with_its_data(
    cloned: tuple[Path, Path], tmp_path: Path
) -> None:
    origin, folder = cloned
    storage = tmp_path / "storage"
    dvc(folder, "remote", "add", "--local", "--default", "storage", str(storage))
    (folder / "raw.txt").write_text("other words")
    git(folder, "commit", "--quiet", "--all", "--message", "others")
    before(folder)
    dvc(folder, "repro", "--quiet")
    branch = record(folder, "night", push=True)
    assert branch == "headstart/runs/night"
    assert git(origin, "rev-parse", branch) == git(folder, "rev-parse", branch)
    taken = tmp_path / "taken"
    git(tmp_path, "clone", "--quiet", "--branch", branch, str(origin), str(taken))
    dvc(taken, "remote", "add", "--local", "--default", "storage", str(storage))
    dvc(taken, "pull", "--quiet")
    assert (taken / "data" / "model.txt").read_text() == "OTHER WORDS0.5"


def test_a_later_clone_knows_what_former_runs_pushed(
    cloned: tuple[Path, Path], tmp_path: Path
) -> None:
    origin, folder = cloned
    found = []
    for number in range(2):
        # What is watched outside of git (images, say) changed: other results of the same commit.
        before(folder)
        lock = (folder / "dvc.lock").read_text()
        (folder / "dvc.lock").write_text(lock.replace("size: 13", "size: 14"))
        found.append(record(folder, f"night-{number}", push=True))
        folder = clone(origin, tmp_path / f"clone-{number}")
    assert found == ["headstart/runs/night-0", None]


def test_a_push_that_fails_says_that_the_commit_exists(project: Path) -> None:
    change(project)
    before(project)
    pretend(project)
    with pytest.raises(RecordingError, match="not all could be pushed") as caught:
        record(project, "night", push=True)
    assert "git push origin headstart/runs/night" in str(caught.value)
    assert git(project, "status", "--porcelain") == ""
    assert set(files(project, "headstart/runs/night")) >= {"dvc.lock"}


def test_numbers_that_a_message_names() -> None:
    text = b'{"a": {"b": 0.25, "c": {"d": 1}, "e": true}, "f": 3, "g": [1], "h": null}'
    assert headline_numbers(text) == {"a.b": "0.25", "f": "3"}
    assert headline_numbers(b"[1]") == headline_numbers(b"no JSON") == headline_numbers(b"") == {}
    many = json.dumps(dict.fromkeys(map(str, range(99)), 1))
    assert len(headline_numbers(many.encode())) == 30

"""The commit of a page, wherever it is made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from headstart.report.run import commit


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    for name in ("code.py", "dvc.lock", "data/metrics.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("first")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "-q", "-m", "Why <b> it was done\n\nat length")
    return tmp_path


def test_a_clean_tree(repository: Path) -> None:
    found = commit()
    assert found is not None
    assert found.sha == git(repository, "rev-parse", "HEAD").strip()
    assert found.subject == "Why <b> it was done"
    assert found.changed == ()


def test_what_the_run_writes_is_no_change(repository: Path) -> None:
    (repository / "dvc.lock").write_text("second")
    (repository / "data/metrics.json").write_text("second")
    (repository / "new.py").write_text("not tracked")
    found = commit()
    assert found is not None
    assert found.changed == ()
    (repository / "code.py").write_text("second")
    found = commit()
    assert found is not None
    assert found.changed == ("code.py",)


def test_many_changes_are_counted(repository: Path) -> None:
    names = [f"{number:02} ü.py" for number in range(20)]
    for name in names:
        (repository / name).write_text("x")
    git(repository, "add", "--all")
    found = commit()
    assert found is not None
    assert list(found.changed) == names[:12]
    assert found.more == 8


def test_without_git_a_repository_or_a_commit_it_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
    git(tmp_path, "init", "-q")
    assert commit() is None
    monkeypatch.setenv("PATH", "")
    assert commit() is None

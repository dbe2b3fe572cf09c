"""What is checked before anything is installed, with a faked PATH, disk and Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT
from tools import install
from tools.preflight import DEV, RUN, faults

GOOD = (3, 12)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def only(found: list[str]) -> str:
    [fault] = found
    return fault


def test_a_clone_on_a_good_machine_has_no_fault(clone: Path) -> None:
    assert not faults(clone, RUN, GOOD)


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 14)])
def test_a_wrong_python_is_named_with_those_that_work(
    clone: Path, version: tuple[int, int]
) -> None:
    said = only(faults(clone, RUN, version))
    assert f"this is {version[0]}.{version[1]}" in said
    assert "3.11, 3.12 or 3.13" in said


def test_a_missing_git_is_reported(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))
    assert "https://git-scm.com/downloads" in only(faults(clone, RUN, GOOD))


def test_a_zip_without_history_is_reported_and_the_printed_commands_cure_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "A")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
    shutil.rmtree(clone / ".git")
    (clone / "params.yaml").touch()
    said = only(faults(clone, RUN, GOOD))
    assert "unpacked from a ZIP file" in said
    for command in ("git init", "git add --all", 'git commit -m "Start"'):
        assert f"`{command}`" in said
        subprocess.run(command, shell=True, cwd=clone, check=True, capture_output=True)  # noqa: S602
    assert not faults(clone, RUN, GOOD)


def test_too_little_disk_is_reported_with_both_figures(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 123_000_000))
    said = only(faults(clone, DEV, GOOD))
    assert f"{DEV.disk_mb:,} MB more" in said
    assert "123 MB is free" in said
    # What is there already needs no room again.
    large = clone / ".venv/large"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(DEV.disk_mb * 1_000_000)
    assert not faults(clone, DEV, GOOD)


def test_a_python_that_makes_no_environments_is_reported(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "python3-venv" in only(faults(clone, RUN, GOOD))


def test_the_installer_stops_before_it_makes_anything(tmp_path: Path) -> None:
    """As a user runs it, in a ZIP's folder and without git on the path."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    done = subprocess.run(
        [sys.executable, "-m", "tools.install"], cwd=tmp_path, check=False, capture_output=True,
        text=True, env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing was installed:\n  - There is no `git` on the path")
    assert not (tmp_path / ".venv").exists()


def test_the_checks_need_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tools.install"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=True)


def test_uv_is_pinned_with_its_hashes() -> None:
    text = install.entry(ROOT / "requirements-dev.lock", "uv")
    first, *hashes = text.splitlines()
    assert first.startswith("uv==")
    assert len(hashes) > 10
    assert all("--hash=sha256:" in line for line in hashes)
    assert not text.rstrip().endswith("\\")


def test_where_uv_fails_pip_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        called.append(words)
        return subprocess.CompletedProcess(words, int("uv" in Path(words[0]).name))

    monkeypatch.setattr(subprocess, "run", run)
    install._packages(ROOT / "requirements.lock", uv=True)
    assert [Path(words[0]).name for words in called] == ["uv", install.PYTHON.name]
    assert all({"--no-deps", "--require-hashes"} <= {*words} for words in called)


def test_a_failure_of_both_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, 1))
    with pytest.raises(SystemExit, match="without a network, connect, then run this again"):
        install._packages(ROOT / "requirements.lock", uv=True)


@pytest.mark.parametrize("dev", [False, True])
def test_the_announced_number_of_packages_is_about_that_of_the_lock(*, dev: bool) -> None:
    lock = (ROOT / install.LOCKS[dev]).read_text()
    assert abs(lock.count("==") - (DEV if dev else RUN).packages) <= 10


def test_a_run_needs_a_part_of_the_packages_in_the_same_versions() -> None:
    entries = [
        set((ROOT / lock).read_text().replace("\\\n    ", "").splitlines())
        for lock in (install.LOCKS[False], install.LOCKS[True])
    ]
    assert entries[0] < entries[1]
    names = {block.partition("==")[0] for block in entries[0]}
    assert not names & {"playwright", "pytest", "kagglehub", "onnx", "onnxruntime", "mypy"}
    assert {"tensorflow", "dvc", "prefect", "uvicorn", "python-multipart"} <= names


def test_every_package_is_hashed_and_no_address_is_named() -> None:
    for name in install.LOCKS.values():
        text = (ROOT / name).read_text()
        assert "://" not in text
        for block in text.replace("\\\n", "").splitlines():
            assert "--hash=sha256:" in block, block

"""A toy project run again: verdicts, where its data comes from, and what is left untouched."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError
from headstart.runs.certificate import Certificate
from headstart.runs.rerun import Request, rerun
from headstart.runs.verdict import FileVerdict, Kind, Verdict
from tests.runs import projects, toy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    toy.make(home)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the toy with its remote beside it; temporary files go where they can be counted."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    home = tmp_path / "home"
    shutil.copytree(made, home, symlinks=True)
    return home


def again(
    home: Path, rev: str = "HEAD", *, stop: threading.Event | None = None, **asked: Any
) -> tuple[Certificate, str]:
    said: list[str] = []
    request = Request(rev, **asked)
    made = rerun(home / "project", request, say=said.append, stop=stop)
    return made, "\n".join(said)


def refused(home: Path, rev: str = "HEAD", **asked: Any) -> str:
    with pytest.raises(HeadstartError) as caught:
        again(home, rev, **asked)
    return str(caught.value)


def left(home: Path) -> list[Path]:
    """Copies that were not removed."""
    return list((home.parent / "tmp").glob("headstart-reproduce-*"))


def by_path(made: Certificate) -> dict[str, FileVerdict]:
    return {entry.path: entry for entry in made.files}


def test_the_commit_is_bit_exact_and_nothing_of_the_user_is_touched(home: Path) -> None:
    # What is not committed is no part of it: this would fail.
    (home / "project/stages/train.py").write_text("raise SystemExit(3)\n")
    before = toy.state(home)
    made, said = again(home)
    assert toy.state(home) == before
    assert left(home) == []
    assert made.verdict is Verdict.BIT_EXACT
    assert made.reached
    paths = {"data.txt", "model/labels.txt", "model/record.json", "weights.csv", "metrics.json"}
    assert set(by_path(made)) == paths
    assert by_path(made)["data.txt"].restored
    assert [(run.name, run.how) for run in made.stages] == [
        ("fetch", "restored from DVC's cache"),
        ("train", "ran"),
    ]
    assert "  trained on 3 words" in said
    assert "Changes that are not committed are not part of this run: stages/train.py." in said
    assert made.then == made.now != None  # noqa: E711 - both known
    assert made.differences == ()


def test_the_data_comes_from_the_remote_where_the_cache_lacks_it(home: Path) -> None:
    project = home / "project"
    projects.call(project, "dvc", "push", "-q")
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "raw")
    # What the user alone has set counts, too: the remote moved.
    shutil.move(home / "storage", home / "moved")
    projects.call(project, "dvc", "remote", "modify", "--local", "-q", "storage", "url", "../moved")
    before = toy.state(home)
    made, _ = again(home)
    assert toy.state(home) == before
    assert made.verdict is Verdict.BIT_EXACT
    assert made.stages[0].how == "restored from the remote `storage`"


def test_the_data_comes_from_its_source_where_nothing_is_recorded(home: Path) -> None:
    shutil.rmtree(home / "project/.dvc/cache")
    before = toy.state(home)
    made, said = again(home)
    assert toy.state(home) == before
    assert made.verdict is Verdict.BIT_EXACT
    assert [run.how for run in made.stages] == ["ran", "ran"]
    assert "neither in DVC's cache nor in the remote" in said
    assert f"fetch reads raw of {home / 'project'}, copied" in said


def test_a_missing_data_set_is_reported_before_anything_runs(home: Path) -> None:
    shutil.rmtree(home / "project/.dvc/cache")
    shutil.rmtree(home / "project/raw")
    said = refused(home)
    assert "The data of the commit" in said
    assert "is missing: fetch read raw with 1 file; now it has 0 files, and its outputs" in said
    assert "Nothing was run" in said
    assert left(home) == []


def test_a_source_that_changed_is_named_and_its_result_is_different(home: Path) -> None:
    (home / "project/raw/data.txt").write_text("one three eight")
    made, _ = again(home)
    assert made.verdict is Verdict.BIT_EXACT  # the recorded data are used
    made, said = again(home, from_source=True)
    assert made.verdict is Verdict.METRIC
    found = by_path(made)
    assert found["raw"].kind is Kind.INPUT
    assert found["data.txt"].verdict is Verdict.DIFFERENT
    assert found["metrics.json"].verdict is Verdict.BIT_EXACT
    assert "dvc.lock is not current at this commit" in said


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [("1e-7", Verdict.NUMERICAL), ("0.1", Verdict.METRIC), ("-4.0", Verdict.DIFFERENT)],
)
def test_another_parameter_gives_a_verdict_by_how_far_the_numbers_are(
    home: Path, noise: str, verdict: Verdict
) -> None:
    made, _ = again(home, changed=(f"noise={noise}",), require=Verdict.METRIC)
    assert made.verdict is verdict
    assert made.reached == (verdict is not Verdict.DIFFERENT)
    found = by_path(made)["weights.csv"]
    assert found.largest == pytest.approx(abs(float(noise)), rel=1e-6)
    assert by_path(made)["model/labels.txt"].verdict is Verdict.BIT_EXACT
    assert made.changed == (f"noise={noise}",)


def test_what_is_recorded_nowhere_is_compared_by_its_hash_alone(home: Path) -> None:
    shutil.rmtree(home / "project/.dvc/cache")
    made, _ = again(home, changed=("noise=0.1",))
    found = by_path(made)
    assert made.verdict is Verdict.METRIC
    assert "only the hash could be compared" in found["weights.csv"].why
    assert "list of its files is neither" in found["model"].why
    assert found["metrics.json"].verdict is Verdict.BIT_EXACT


@pytest.mark.parametrize(
    "path",
    [
        "weights.csv",
        "metrics.json",
        pytest.param("model", marks=pytest.mark.slow),
        pytest.param("data.txt", marks=pytest.mark.slow),
        pytest.param("raw", marks=pytest.mark.slow),
    ],
)
def test_an_edited_hash_is_found_and_named(home: Path, path: str) -> None:
    lock = home / "project/dvc.lock"
    head, tail = lock.read_text().split(f"- path: {path}\n", 1)
    tail = re.sub("md5: [0-9a-f]{32}", f"md5: {'a' * 32}", tail, count=1)
    lock.write_text(f"{head}- path: {path}\n{tail}")
    toy.commit(home / "project", "edited")
    if path == "raw":  # what the data was made of is looked at only where it is made again
        shutil.rmtree(home / "project/.dvc/cache")
    made, _ = again(home)
    assert not made.reached
    assert path in made.line()
    assert "different" in made.line().lower()
    if path in {"data.txt", "metrics.json"}:
        assert made.verdict is Verdict.DIFFERENT


def test_a_lock_that_is_behind_its_commit_is_no_proof(home: Path) -> None:
    code = home / "project/stages/train.py"
    code.write_text(f"{code.read_text()}# a comment\n")
    toy.commit(home / "project", "not run")
    made, said = again(home)
    assert "it records other inputs (stages/train.py)" in said
    assert by_path(made)["stages/train.py"].kind is Kind.INPUT
    assert made.verdict is Verdict.METRIC


def test_a_stage_that_fails_gives_no_verdict_and_leaves_nothing(home: Path) -> None:
    (home / "project/stages/train.py").write_text("print('Error: no luck'); raise SystemExit(1)\n")
    toy.commit(home / "project", "broken")
    said = refused(home)
    assert "There is no verdict on commit" in said
    assert "train failed in the clean copy" in said
    assert said.endswith("no luck")
    assert left(home) == []


def test_it_can_be_stopped_and_leaves_nothing(home: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(HeadstartError, match="stopped"):
        again(home, stop=stop)
    assert left(home) == []


def test_a_folder_that_cannot_be_written_is_reported(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(home / "nowhere"))
    assert "Name another folder in TMPDIR" in refused(home)


@pytest.mark.slow
def test_the_copy_can_be_kept(home: Path) -> None:
    made, said = again(home, keep=True)
    assert made.reached
    assert len(left(home)) == 1
    assert "The copy was kept" in said


@pytest.mark.slow
def test_a_subfolder_of_a_repository_is_a_project_too(made: Path, home: Path) -> None:
    top = home / "top"
    inner = top / "inner"
    shutil.copytree(home / "project", inner, ignore=shutil.ignore_patterns(".git"))
    projects.git(top, "init", "-q")
    toy.commit(top, "all of it")
    shutil.rmtree(home / "project")
    top.rename(home / "project")
    certificate = rerun(home / "project/inner", Request("HEAD"), say=lambda _: None)
    assert certificate.verdict is Verdict.BIT_EXACT


@pytest.mark.parametrize(
    ("rev", "words"),
    [
        ("no-such", "There is no commit 'no-such' in this repository. `git log"),
        ("--help", "There is no commit '--help'"),
        ("HEAD~1", "it has no dvc.lock. It is from before"),
    ],
)
def test_an_impossible_revision_is_reported(home: Path, rev: str, words: str) -> None:
    assert words in refused(home, rev)


def test_a_file_that_git_does_not_know_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="is not in a git repository"):
        rerun(tmp_path, Request("HEAD"), say=print)


@pytest.mark.slow
def test_a_shallow_clone_is_run_again_and_tells_why_it_lacks_older_ones(home: Path) -> None:
    shallow = home / "shallow"
    url = f"file://{home / 'project'}"
    projects.git(home, "clone", "-q", "--depth=1", url, str(shallow))
    shutil.rmtree(home / "project/.dvc/cache")
    shutil.move(home / "project/raw", shallow / "raw")
    made = rerun(shallow, Request("HEAD"), say=lambda _: None)
    assert made.verdict is Verdict.BIT_EXACT
    with pytest.raises(HeadstartError, match="This clone is shallow"):
        rerun(shallow, Request("HEAD~1"), say=lambda _: None)


def test_a_stage_without_a_record_is_named(home: Path) -> None:
    lock = home / "project/dvc.lock"
    lock.write_text(lock.read_text().replace("  train:", "  trained:"))
    toy.commit(home / "project", "renamed")
    said = refused(home)
    assert "does not belong to its dvc.yaml: it has no hash for train (" in said


def test_a_pipeline_that_dvc_cannot_read_is_reported_with_its_commit(home: Path) -> None:
    (home / "project/dvc.lock").write_text("schema: '2.0'\nstages: 3\n")
    sha = toy.commit(home / "project", "damaged")
    assert f"DVC cannot read the pipeline of commit {sha[:12]} (damaged): " in refused(home)


def test_another_python_runs_the_stages_and_is_reported(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.write_text(f'#!/bin/sh\necho "called here"\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    with pytest.raises(HeadstartError, match="is not a Python that can list"):
        again(home, python=str(other))  # it says too much
    other.write_text(
        f'#!/bin/sh\n[ "$1" = -I ] || echo "called here"\nexec {sys.executable} "$@"\n'
    )
    made, said = again(home, python=str(other))
    assert made.verdict is Verdict.BIT_EXACT
    assert "  called here" in said
    assert f"The stages use the packages of {other}." in made.notes


def test_a_parameter_that_there_is_not_is_refused(home: Path) -> None:
    said = refused(home, changed=("nois=1",))
    assert "nois=1 cannot be set in params.yaml" in said
    assert left(home) == []


def test_other_versions_are_reported_before_anything_runs(home: Path) -> None:
    (home / "project/runtime.txt").write_text("# what decides\nnumpy==0.1\nno-such-thing==1.0\n")
    toy.commit(home / "project", "older")
    said = refused(home)
    assert "numpy: 0.1 then, " in said
    assert "no-such-thing: 1.0 then, none installed now" in said
    assert "--python lock" in said
    assert left(home) == []

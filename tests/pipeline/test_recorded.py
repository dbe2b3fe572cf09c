"""Where recorded bytes are found, and that damaged ones are not believed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headstart._utils.files import md5_file
from headstart.pipeline.git import Repository
from headstart.pipeline.recorded import (
    RecordError,
    md5_tree,
    records,
    records_of,
)
from headstart.pipeline.storage import Storage
from tests.runs import projects, toy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    projects.call(toy.make(home), "dvc", "push", "-q")
    return home


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    return tmp_path / "home" / "project"


def cached(project: Path, md5: str) -> Path:
    return project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def test_a_commit_says_the_same_as_its_checkout_and_nothing_is_written(project: Path) -> None:
    before = toy.state(project)
    found = records_of(Repository(project).commit("HEAD"))
    assert toy.state(project) == before
    assert found == records(project)
    assert list(found) == ["fetch", "train"]
    assert found["fetch"].meta == {"source": True}
    outs = {out.path: out for out in found["train"].outs}
    assert outs["metrics.json"].metric
    assert not outs["metrics.json"].cached
    assert outs["model"].files == 2
    assert outs["model"].md5 == md5_tree(project / "model")[0]
    assert outs["weights.csv"].md5 == md5_file(project / "weights.csv")
    assert found["train"].deps["data.txt"].md5 == found["fetch"].outs[0].md5


def test_a_folder_comes_back_as_it_was(project: Path, tmp_path: Path) -> None:
    out = next(out for out in records(project)["train"].outs if out.path == "model")
    for place in ("DVC's cache", "the remote `storage`"):
        target = tmp_path / place
        assert Storage(project).restore(out, target, tmp_path / "list") == place
        assert md5_tree(target / "model") == md5_tree(project / "model")
        shutil.rmtree(project / ".dvc/cache", ignore_errors=True)
    shutil.rmtree(project.parent / "storage")
    assert Storage(project).restore(out, tmp_path / "none", tmp_path / "list") is None


def test_a_damaged_file_is_not_used_and_is_reported(project: Path, tmp_path: Path) -> None:
    md5 = md5_file(project / "weights.csv")
    cached(project, md5).chmod(0o644)
    cached(project, md5).write_text("damaged")
    storage = Storage(project)
    assert storage.fetch(md5, tmp_path / "file") == "the remote `storage`"
    assert md5_file(tmp_path / "file") == md5
    assert storage.faults == [f"DVC's cache holds a damaged file under {md5}; it was not used"]
    shutil.rmtree(project.parent / "storage")
    assert Storage(project).fetch(md5, tmp_path / "file") is None
    assert not (tmp_path / "file").exists()


def test_a_remote_that_cannot_be_opened_is_reported_once(project: Path, tmp_path: Path) -> None:
    projects.call(project, "dvc", "remote", "modify", "-q", "storage", "url", "s3://no/such")
    storage = Storage(project)
    for _ in range(2):
        assert storage.fetch("0" * 32, tmp_path / "file") is None
    assert len(storage.faults) == 1
    assert "remote `storage` could not be" in storage.faults[0]


@pytest.mark.parametrize(
    "text", ["no json", "{}1", '[{"md5": "1"}]', '[{"md5": "1", "relpath": "../x"}]',
             '[{"md5": "1", "relpath": "/etc/x"}]', '[{"md5": "1", "relpath": ""}]'],
)  # fmt: skip
def test_a_list_that_names_foreign_paths_is_not_followed(
    project: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "list").write_text(text)
    md5 = f"{md5_file(tmp_path / 'list')}.dir"
    cached(project, md5).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(tmp_path / "list", cached(project, md5))
    with pytest.raises(RecordError, match="The recorded list of files"):
        Storage(project).listing(md5, tmp_path / "scratch")


def test_the_hash_of_a_folder_is_dvcs_own(project: Path) -> None:
    for name in ("z/b.txt", "z.txt", "ü/a b.txt", "a"):
        file = project / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    projects.call(project, "dvc", "add", "-q", "data")
    assert f"md5: {md5_tree(project / 'data')[0]}" in (project / "data.dvc").read_text()

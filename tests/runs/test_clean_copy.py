"""The copy: its own of everything, removed however the block ends."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headstart._utils import stamps
from headstart._utils.errors import HeadstartError, InputChangedError
from headstart._utils.files import sha256_bytes
from headstart._utils.stamps import RecordedHashes, stamp
from headstart.pipeline.git import Repository
from headstart.runs.clean_copy import add_missing, clean_copy, warm_up
from headstart.sources.ingest import ingest
from headstart.sources.parameters import open_source
from tests.images.made import png
from tests.runs import projects, toy
from tests.stages.test_download import parameters


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "project"
    for name, text in {"stages/__init__.py": "WHERE = 'committed'\n", "raw/README": "kept"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    projects.git(folder, "init", "-q")
    (folder / ".gitignore").write_text("raw/*\n!raw/README\n")
    toy.commit(folder, "first")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return folder


def left() -> list[str]:
    return [path.name for path in Path(tempfile.gettempdir()).iterdir()]


def test_the_commits_own_code_runs_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "stages/__init__.py").write_text("WHERE = 'changed since'\n")
    # Neither may win: another tree on Python's path, nor our own, installed, package.
    monkeypatch.setenv("PYTHONPATH", str(project))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    (project / "probe.py").write_text(
        "import stages; print(stages.WHERE)\n"
        "try: import headstart.stage\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    (project / "headstart").mkdir()
    (project / "headstart/__init__.py").touch()
    projects.git(project, "add", "probe.py", "headstart")
    projects.git(project, "commit", "-q", "-m", "probe", "--", "probe.py", "headstart")
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        done = subprocess.run(
            [sys.executable, "-m", "probe"],
            cwd=copy.project, env={**os.environ, **copy.environment()},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    # Not even what the commit lacks comes from elsewhere.
    assert done.stdout == "committed\nNo module named 'headstart.stage'\n"


def test_what_its_stages_leave_behind_goes_with_it(project: Path) -> None:
    code = "import tempfile; print(tempfile.mkdtemp())"
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **copy.environment()}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert Path(done.stdout.strip()).is_relative_to(copy.folder)
    assert left() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, HeadstartError, SystemExit])
def test_it_is_removed_however_the_block_ends(project: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), clean_copy(Repository(project).commit("HEAD")) as copy:
        assert copy.project.is_dir()
        raise error
    assert left() == []


def test_it_can_be_kept(project: Path) -> None:
    with clean_copy(Repository(project).commit("HEAD"), keep=True) as copy:
        pass
    assert projects.git(copy.project, "status", "--porcelain") == ""


def test_a_commit_that_no_branch_has_is_found(project: Path) -> None:
    (project / "raw/README").write_text("second")
    sha = toy.commit(project, "second")
    projects.git(project, "reset", "-q", "--hard", "HEAD~1")
    with clean_copy(Repository(project).commit(sha)) as copy:
        assert (copy.project / "raw/README").read_text() == "second"


def test_its_settings_hold_in_a_folder_of_any_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / 'é, a #1 "x"'
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    projects.call(project, "dvc", "init", "-q")
    toy.commit(project, "with DVC")
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        folder = projects.call(copy.project, "dvc", "cache", "dir").strip()
        assert Path(folder) == copy.folder / "cache"


def test_objects_that_are_missing_are_reported(project: Path) -> None:
    commit = Repository(project).commit("HEAD")
    blob = projects.git(project, "rev-parse", "HEAD:raw/README").strip()
    file = project / ".git/objects" / blob[:2] / blob[2:]
    file.unlink()
    with (
        pytest.raises(HeadstartError, match="could not be brought into a clean copy"),
        clean_copy(commit),
    ):
        pass
    assert left() == []


def test_only_what_git_does_not_know_is_added(project: Path) -> None:
    (project / "raw/README").write_text("changed")
    (project / "raw/cat").mkdir()
    (project / "raw/cat/1.png").write_text("image")
    outside = project.parent / "outside"
    outside.mkdir()
    (outside / "2.png").write_text("other")
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        wanted = ["raw", "../outside", str(outside), "not-there"]
        assert add_missing(copy, project, wanted) == ("raw", "../outside")
        assert (copy.project / "raw/README").read_text() == "kept"
        assert (copy.project / "raw/cat/1.png").read_text() == "image"
        assert (copy.project / "../outside/2.png").read_text() == "other"
    assert left() == []


def test_a_full_disk_is_reported_before_anything_is_copied(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "raw/1.png").write_text("image")
    usage = shutil.disk_usage(project)
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3))
        with pytest.raises(HeadstartError, match=r"needs 5 bytes, and .* has room for 3"):
            add_missing(copy, project, ["raw"])


@pytest.mark.parametrize("trusting", [False, True])
def test_a_file_that_changed_behind_its_record_is_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: bool
) -> None:
    monkeypatch.setattr(stamps, "_YOUNG", -1_000_000_000_000)  # every file counts as old
    contents = {f"{label}/0.png": png(12, 9, seed=len(label)) for label in ("cat", "bird")}
    for path, content in contents.items():
        (tmp_path / "images" / path).parent.mkdir(parents=True)
        (tmp_path / "images" / path).write_bytes(content)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "store"))
    ids = ingested(tmp_path / "images", tmp_path / "first")
    changed = tmp_path / "images/cat/0.png"
    changed.write_bytes(png(12, 9, seed=77))
    record = RecordedHashes("sha256")
    record.add(os.path.realpath(changed), stamp(changed.stat()), ids["cat/0.png"])
    record.save()
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        assert warm_up(copy, tmp_path / "store") == 2
        for name, value in copy.environment().items():
            monkeypatch.setenv(name, value)
        if trusting:  # without the variable, the record deceives: so the test has something to find
            monkeypatch.delenv("HEADSTART_VERIFY")
            with pytest.raises(InputChangedError):
                ingested(tmp_path / "images", tmp_path / "again")
            return
        again = ingested(tmp_path / "images", tmp_path / "again")
    assert again == ids | {"cat/0.png": sha256_bytes(changed.read_bytes())}


def ingested(images: Path, target: Path) -> dict[str, str]:
    """Return the image_id of each path."""
    for part in ("shards", "thumbnails"):
        (target / part).mkdir(parents=True)
    params = parameters(source="folder", location=str(images))
    source = open_source(params, images)
    found = ingest(source, params, target / "shards", target / "thumbnails").images
    return dict(zip(found["path"], found["image_id"], strict=True))


@pytest.mark.parametrize("open_elsewhere", [False, True])
def test_recorded_features_are_copied_and_the_store_stays_as_it_is(
    project: Path, tmp_path: Path, open_elsewhere: bool
) -> None:
    store = tmp_path / "store" / "features"
    store.mkdir(parents=True)
    writer = sqlite3.connect(store / "a.sqlite")
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE features (id TEXT)")
    writer.execute("INSERT INTO features VALUES ('image')")
    writer.commit()
    if not open_elsewhere:
        writer.close()
    before = toy.state(tmp_path / "store")
    with clean_copy(Repository(project).commit("HEAD")) as copy:
        assert warm_up(copy, tmp_path / "store") == 1
        assert toy.state(tmp_path / "store").keys() == before.keys()
        assert toy.state(tmp_path / "store")["features/a.sqlite"] == before["features/a.sqlite"]
        reader = sqlite3.connect(copy.store / "features/a.sqlite")
        assert reader.execute("SELECT id FROM features").fetchall() == [("image",)]
        reader.close()
    writer.close()

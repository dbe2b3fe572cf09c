"""`headstart list-objects`: the listing of a bucket, in a project of two stages that DVC runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from headstart.pipeline.recipes import overlay
from tests.archives.made import HONEST
from tests.cli.running import run
from tests.conftest import ROOT
from tests.images import made as make
from tests.objects.server import Server

LISTING = Path("data/objects.csv")


def configure(**download: object) -> None:
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(overlay(text, {"download": download}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stage `download` of ours."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    text = (ROOT / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(text[: text.index("\n  find_duplicates:")] + "\n")
    shutil.copy(ROOT / "runtime.txt", folder)
    for name in ("stages", "headstart"):
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    subprocess.run(["dvc", "init", "--no-scm", "-q"], check=True)
    return folder


def test_a_bucket_that_changes(project: Path, s3: Server) -> None:
    place = s3.place({**HONEST, "Pets/cat/": b""}, "in")
    given = {"source": "s3", "url": place.url, "endpoint_url": s3.url, "location": str(LISTING)}
    configure(**given)
    said = run("list-objects", "--check", code=5)
    assert not LISTING.exists()
    assert f"below {place.url}/: 6 new, 0 changed, 0 removed." in said
    assert "Written: data/objects.csv" in run("list-objects")
    assert "AKIANOBODY" not in LISTING.read_text() + Path("params.yaml").read_text()
    assert "0 new, 0 changed, 0 removed" in run("list-objects", "--check")
    before = LISTING.stat().st_mtime_ns
    run("list-objects")
    assert LISTING.stat().st_mtime_ns == before

    def repro() -> str:
        done = subprocess.run(
            ["dvc", "repro"],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.stdout

    assert "6 of 6 files kept" in repro()
    s3.seen.clear()
    assert "didn't change" in repro()
    assert s3.seen == []
    s3.put(place, {"Pets/dog/new.png": make.png(30, 20, seed=9)})
    s3.delete(place, next(iter(HONEST)))
    assert "didn't change" in repro()  # until somebody asks the bucket
    said = run("list-objects")
    assert "1 new, 0 changed, 1 removed." in said
    assert "new: in/Pets/dog/new.png" in said
    s3.seen.clear()
    assert "6 of 6 files kept" in repro()
    assert [path.rpartition("/")[2] for path in s3.gets()] == ["new.png"]
    lock = Path("dvc.lock").read_text()
    assert place.url in lock
    assert "hunter2" not in lock


def test_what_needs_no_listing_is_said(project: Path, s3: Server) -> None:
    configure(source="folder", location="data")
    assert "this command is for s3, gs, abfs" in run("list-objects", code=2)
    configure(source="s3", url="s3://bucket/a.zip", sha256="0" * 64)
    assert "is an archive, which needs no listing" in run("list-objects", code=2)
    configure(source="s3", url=s3.place(HONEST).url, endpoint_url=s3.url, location="data")
    assert "Set `download.location: data/objects.csv`" in run("list-objects", code=1)


def test_the_listing_of_another_prefix_is_replaced(project: Path, s3: Server) -> None:
    place = s3.place(HONEST)
    given = {"source": "s3", "endpoint_url": s3.url, "location": str(LISTING)}
    configure(url=place.url, **given)
    run("list-objects")
    configure(url=f"{place.url}/Pets/cat", **given)
    said = run("list-objects", "--check", code=1)
    assert "which `download.url` names" in said
    assert "is no listing of" in run("list-objects")
    assert "Pets/dog" not in LISTING.read_text()
    configure(url="s3://no-such-bucket", **given)
    assert "There is no bucket `no-such-bucket`" in run("list-objects", code=1)


def test_a_stage_without_its_listing_names_the_command(project: Path, s3: Server) -> None:
    configure(source="s3", url="s3://bucket/in", location=str(LISTING))
    options = "--runtime runtime.txt --images i --manifest m --rejected r --rejected-images t"
    words = f"python -m stages.download {options} --metrics j --run-statistics s".split()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "There is no listing of objects at data/objects.csv" in done.stderr
    assert "`headstart list-objects` writes it" in done.stderr

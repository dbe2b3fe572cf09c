"""`headstart suggest`: the rows, what is left out, the passes, and the copies."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headstart._utils.files import sha256_tree
from headstart.backbones.record import read_backbone, write_backbone
from headstart.cli.app import app
from headstart.datasets.manifests import read_images
from headstart.datasets.shards import ShardReader
from headstart.training.model_folder import read_head, read_model, write_model
from tests.incoming import project as made_project
from tests.stages import small_run
from tests.stages.small_run import SmallRun


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run.make(tmp_path_factory.mktemp("run") / "files")


@pytest.fixture
def project(made: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with nine new images in ``inbox``."""
    folder = made_project.make(made, tmp_path / "project")
    made_project.new_images(folder / "inbox", 9)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


def suggest(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["suggest", *words])
    assert result.exit_code == code, result.output
    return result


def files(result: Result) -> list[str]:
    return [json.loads(line)["file"] for line in result.stdout.splitlines()]


def test_each_image_passes_once_and_the_ranking_is_repeated(project: Path) -> None:
    before = sha256_tree(project)
    first = suggest("inbox", "-n", "4")
    assert len(set(files(first))) == 4
    assert "9 passed through the backbone" in first.stderr
    assert "Suggested: 4 of 9 new images." in first.stderr
    again = suggest("inbox", "-n", "4")
    assert "0 passed through the backbone, 9 cached" in again.stderr
    assert again.stdout == first.stdout
    assert sha256_tree(project) == before
    rows = [json.loads(line) for line in first.stdout.splitlines()]
    assert all(len(row["top"]) == 2 for row in rows)


def test_images_of_the_data_set_and_copies_are_left_out(project: Path) -> None:
    row = read_images(project / "data/manifests/images.csv").iloc[0]
    with ShardReader(project / "data/images") as reader:
        content = reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])
    (project / "inbox/a-known.png").write_bytes(content)
    shutil.copy(project / "inbox/000.png", project / "inbox/z-copy.png")
    result = suggest("inbox")
    assert sorted(files(result)) == [f"inbox/{number:03}.png" for number in range(9)]
    assert "Left out: 1 image of the data set." in result.stderr
    assert "Left out: 1 copy of other images." in result.stderr


def test_unusable_files_are_named_and_the_others_ranked(project: Path) -> None:
    (project / "inbox/cut.png").write_bytes((project / "inbox/000.png").read_bytes()[:900])
    (project / "inbox/text.png").write_bytes(b"no image")
    (project / "inbox/link.png").symlink_to(project / "inbox/001.png")
    result = suggest("inbox", "missing.png", code=3)
    assert len(files(result)) == 9
    for name in ("inbox/cut.png", "inbox/text.png", "inbox/link.png", "missing.png"):
        assert f"Not read: {name}: " in result.stderr
    assert "Read: 9 of 13 images; not read: 4." in result.stderr
    suggest("missing.png", code=1)


def test_csv_cells_are_neutral(project: Path) -> None:
    (project / "inbox/000.png").rename(project / "=1+1.png")
    result = suggest("=1+1.png", "--format", "csv")
    head, row = csv.reader(io.StringIO(result.stdout))
    assert head == ["file", "label", "probability", "label_2", "probability_2"]
    assert row[0] == "'=1+1.png"


def test_copies_overwrite_nothing_and_are_not_made_twice(project: Path) -> None:
    (project / "inbox/a").mkdir()
    (project / "inbox/000.png").rename(project / "inbox/a/001.png")
    target = project / "to-label"
    target.mkdir()
    (target / "002.png").write_text("mine")
    (target / "003.png").symlink_to(project / "dvc.yaml")
    result = suggest("inbox", "--copy-to", "to-label")
    assert "Copied to to-label: 9." in result.stderr
    assert (target / "002.png").read_text() == "mine"
    assert (target / "003.png").is_symlink()
    names = {path.name for path in target.iterdir()}
    assert {"001.png", "001-2.png", "002-2.png", "003-2.png"} <= names
    before = sha256_tree(target)
    assert "there already: 9." in suggest("inbox", "--copy-to", "to-label").stderr
    assert sha256_tree(target) == before


def test_copies_never_go_into_the_folder_that_is_ranked(project: Path) -> None:
    result = suggest("inbox", "--copy-to", "inbox/next", code=2)
    assert "Name a folder elsewhere" in result.stderr
    suggest("inbox", "--copy-to", "elsewhere")


def test_a_fine_tuned_model_is_reported_and_the_head_ranks(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = suggest("inbox")
    model = project / "data/models/fine_tuned"
    record = read_model(model)
    for name in ("backbone.weights.h5", "upper.tflite"):
        (model / name).write_bytes(b"not opened")
    tuned = record.model_copy(update={"kind": "fine_tuned", "unfrozen_from": "out_relu"})
    write_model(model, tuned, read_head(model, record))
    result = suggest("inbox")
    assert "The final model is fine-tuned. The ranking uses the head" in result.stderr
    assert result.stdout == plain.stdout


def test_features_of_another_backbone_are_refused(project: Path) -> None:
    record = read_backbone(project / "data/backbone")
    write_backbone(project / "data/backbone", record.model_copy(update={"image_size": 48}))
    result = suggest("inbox", code=1)
    assert "image_size differ" in result.stderr
    assert "`dvc repro` makes them match" in result.stderr


def test_addresses_are_refused_before_anything_is_read(project: Path) -> None:
    result = suggest("https://example.org/a.png", code=2)
    assert "`headstart predict` takes addresses" in result.stderr

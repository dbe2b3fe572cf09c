"""`headstart features`: rows of numbers and whose they are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import read_split
from headstart.datasets.shards import ShardReader
from headstart.export.formats import FORMATS
from headstart.export.parity import compare
from headstart.export.record import describe_model, summarize_formats, write_exported
from headstart.features.folder import read_features
from headstart.keras.networks.conversion import difference_in_std
from headstart.serving import models as loading
from headstart.training.model_folder import LOWER, UPPER, read_head, read_model
from tests.cli.running import run
from tests.serving import models
from tests.stages import small_run
from tests.stages.small_run import SmallRun


def colors(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(pixels.mean(axis=(1, 2)), np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images, one of them broken, and a model whose features are the mean color."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / FORMATS["keras"].path).write_bytes(b"not read here")
    extractor = loading.Model(16, None, (3,), colors, 32, 2, "The model", "Export it again.")
    monkeypatch.setattr(loading, "load_features", lambda *asked: extractor)
    (tmp_path / "in").mkdir()
    for name in models.COLORS:
        (tmp_path / "in" / f"{name}.png").write_bytes(models.colored(name))
    (tmp_path / "in" / "cut.png").write_bytes(models.colored("red")[:300])
    return tmp_path


def rows(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["row"], row["file"]) for row in csv.DictReader(file)]


def test_a_row_an_image_in_order_and_the_broken_one_is_named(here: Path) -> None:
    said = run("features", "in", "-o", "out/f.npy", code=3)
    assert "Not read: in/cut.png: truncated" in said
    assert "Written: out/f.npy, float32 of shape (3, 3); out/f.csv names the rows." in said
    assert said.rstrip().endswith("Read: 3 of 4 images; not read: 1.")
    names = ["blue", "green", "red"]
    assert rows(here / "out/f.csv") == [
        (str(row), f"in/{name}.png") for row, name in enumerate(names)
    ]
    found = np.load(here / "out/f.npy")
    assert np.allclose(found, [models.COLORS[name] for name in names], atol=6)


def test_where_nothing_could_be_read_nothing_is_written(here: Path) -> None:
    said = run("features", "in/cut.png", "gone.png", code=1)
    assert "Read: 0 of 2 images; not read: 2." in said
    assert "Written" not in said
    assert sorted(path.name for path in here.iterdir() if path.is_dir()) == ["export", "in"]
    assert not list(here.glob("*.*"))


def test_the_output_is_an_array_of_numpy(here: Path) -> None:
    assert "`--output` must end in .npy. Got 'f.csv'" in run(
        "features", "in", "-o", "f.csv", code=2
    )


def test_existing_files_of_others_are_an_error_and_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_features", lambda *_: pytest.fail("loaded a model"))
    for name in ("folder.npy", "names.csv"):
        (here / name).mkdir()
        said = run("features", "in", "-o", str(Path(name).with_suffix(".npy")), code=1)
        assert f"Error: {name} is a folder" in said
    (here / "in.csv").write_text("file,label\nin/red.png,warm\n")
    said = run("features", "in", "-o", "in.npy", code=1)
    assert "Error: in.csv exists and does not name rows" in said
    assert (here / "in.csv").read_text() == "file,label\nin/red.png,warm\n"
    assert [path.name for path in here.glob("*.npy")] == ["folder.npy"]


def test_both_files_may_be_written_again(here: Path) -> None:
    run("features", "in/red.png", "in/blue.png", "-o", "f.npy")
    run("features", "in/green.png", "-o", "f.npy")
    assert rows(here / "f.csv") == [("0", "in/green.png")]
    assert np.load(here / "f.npy").shape == (1, 3)


def test_an_unwritable_output_is_an_error(here: Path) -> None:
    said = run("features", "in/red.png", "-o", "in/red.png/f.npy", code=1)
    assert "Error: The features could not be written to in/red.png/f.npy: " in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A run with a head in ``head`` and a fine-tuned model in ``tuned``."""
    made = small_run.make(tmp_path_factory.mktemp("run") / "files")
    done = small_run.stage(
        made,
        "fine_tune",
        {"fine_tune": {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8}},
        images=made.images,
        manifest=made.manifest,
        backbone_folder=made.backbone,
        head=made.head,
        features=made.features,
        model=made.folder / "tuned",
        epoch_history=made.folder / "epochs.csv",
        run_statistics=made.folder / "run_statistics",
    )
    assert done.returncode == 0, done.stderr
    return made


def export(made: SmallRun, name: str, target: Path) -> None:
    """Both Keras formats of a model, as the stage export writes them."""
    from headstart.keras.export.classifier import classifier
    from headstart.keras.export.keras_file import write_h5, write_keras
    from headstart.keras.export.reload import Source

    backbone, record = read_backbone(made.backbone), read_model(made.folder / name)
    tuned = made.folder / name if record.kind == "fine_tuned" else None
    head = read_head(made.folder / name, record)
    built = classifier(backbone, made.backbone, tuned, record.head, head)
    target.mkdir()
    write_keras(Source(built), target / FORMATS["keras"].path)
    write_h5(Source(built), target / FORMATS["h5"].path)
    same = compare(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    formats = summarize_formats(target, {"keras": {"pixels": same}, "h5": {"pixels": same}})
    write_exported(target, describe_model(record, "none", target, formats))


def pixels_and_files(made: SmallRun, folder: Path) -> Any:
    """The test images, as files in the order of their rows, and as pixels."""
    from tests.images.made import pixels

    manifest = read_split(made.manifest)
    found: list[npt.NDArray[np.uint8]] = []
    folder.mkdir()
    with ShardReader(made.images) as reader:
        for row in manifest[manifest["split"] == "test"].to_dict("records"):
            content = reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])
            (folder / f"{len(found):03}.{row['format']}").write_bytes(content)
            found.append(pixels(content, 32))
    return np.stack(found)


@pytest.mark.slow  # keras/export/test_features.py has the networks
def test_they_are_those_that_were_recorded(trained: SmallRun, tmp_path: Path) -> None:
    export(trained, "head", tmp_path / "export")
    pixels_and_files(trained, tmp_path / "in")
    expected = read_features(trained.features).array("test")
    for form in ("keras", "h5"):
        path = tmp_path / f"{form}.npy"
        run("features", str(tmp_path / "in"), "--model", str(tmp_path / "export"),
            "--export-format", form, "-o", str(path))  # fmt: skip
        assert difference_in_std(np.asarray(expected), np.load(path)) < 1e-4


@pytest.mark.slow  # as above
def test_of_a_fine_tuned_model_they_are_the_trained_ones(trained: SmallRun, tmp_path: Path) -> None:
    export(trained, "tuned", tmp_path / "export")
    batch = pixels_and_files(trained, tmp_path / "in")
    activations = LiteRTFunction(trained.folder / "tuned" / LOWER)(batch)
    expected = LiteRTFunction(trained.folder / "tuned" / UPPER)(activations)
    path = tmp_path / "f.npy"
    run("features", str(tmp_path / "in"), "--model", str(tmp_path / "export"), "-o", str(path))
    found = np.load(path)
    assert difference_in_std(expected, found) < 1e-4
    before = read_features(trained.features).array("test")
    assert difference_in_std(np.asarray(before), found) > 1e-2

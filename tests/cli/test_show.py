"""`headstart show`: what is drawn and printed is what lies in the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart._utils.files import sha256_bytes
from headstart.backbones.record import WEIGHTS, write_backbone
from headstart.datasets.manifests import read_images
from headstart.pipeline.recipes import overlay
from headstart.training.model_folder import BACKBONE_WEIGHTS, UPPER, ModelRecord, write_model
from tests.cli import running
from tests.conftest import ROOT
from tests.images import made as make
from tests.training import models
from tools.contract import declared

PARAMS = {
    "seed": 7,
    "download": {"source": "folder", "location": "data/raw"},
    "split": {"validation": 0.2, "test": 0.3, "predefined": "keep"},
    "sample": {"train_per_class": 3, "validation_per_class": 1},
    "backbone": {"image_size": 48},
    "train_head": {"batch_size": 8},
}


run = partial(running.run, "show")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two classes in which download, split and sample have run."""
    project = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "runtime.txt"):
        shutil.copy(ROOT / name, project)
    (project / "data").mkdir()
    shutil.copy(ROOT / "data/corrections.csv", project / "data")
    (project / "params.yaml").write_text(overlay((ROOT / "params.yaml").read_text(), PARAMS))
    for number in range(30):
        label = "$cat_{^$" if number % 2 else "dog"
        path = project / "data" / "raw" / "pets" / label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make.jpeg(40 + number, 30, seed=number))
    for number, label in enumerate(("$cat_{^$", "dog")):
        (project / "data/raw/pets" / label / "same.jpg").write_bytes(make.jpeg(seed=90 + number))
    (project / "data" / "raw" / "pets" / "README.md").write_text("no image")
    commands = [["-m", "dvc", "init", "-q", "--no-scm"]]
    for name in ("download", "find_duplicates", "split", "sample"):
        stage = declared()[name]
        options = [(f"--{key.replace('_', '-')}", value) for key, value in stage.options.items()]
        commands.append(["-m", stage.module, *(word for pair in options for word in pair)])
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "project"
    shutil.copytree(made, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_a_grid_of_raw_images(project: Path) -> None:
    said = run("images", "--rows", "2", "--columns", "3")
    lines = said.splitlines()
    assert lines[-1] == "Written: data/show/images.png"
    assert len(lines) == 7
    images = read_images(project / "data/manifests/images.csv").set_index("path")
    for line in lines[:-1]:
        title, _, path = line.partition("  ")
        row = images.loc[path]
        assert title == f"{row['label']} – ({row['height']}, {row['width']}, 3)"
    width, height = size_of(project / "data/show/images.png")
    assert width > height
    first = (project / "data/show/images.png").read_bytes()
    assert run("images", "--rows", "2", "--columns", "3") == said
    assert (project / "data/show/images.png").read_bytes() == first
    other = run("images", "--rows", "2", "--columns", "3", "--seed", "8", "--output", "o.png")
    assert other.splitlines()[:-1] != lines[:-1]
    assert size_of(project / "o.png") == (width, height)


def test_a_grid_of_one_class_and_one_split(project: Path) -> None:
    lines = run("images", "--label", "dog", "--split", "test").splitlines()[:-1]
    assert lines
    assert all(line.startswith("dog – ") for line in lines)
    titled = run("images", "--label", "dog", "--split", "test", "--capitals").splitlines()[:-1]
    assert titled == [line.replace("dog – ", "Dog – ", 1) for line in lines]
    assert "'tset' is not one of 'train'" in run("images", "--split", "tset", code=2)
    assert "no class 'dgo'" in run("images", "--label", "dgo", code=1)


def test_the_browser_is_opened_on_demand(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    run("images", "--rows", "1", "--columns", "1")
    assert not opened
    run("images", "--rows", "1", "--columns", "1", "--open")
    assert opened == [(project / "data/show/images.png").resolve().as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    assert "No browser" in run("image", "--open", code=1)


def test_one_image_with_its_path(project: Path) -> None:
    said = run("image", "dog/0.jpg")
    assert "path      pets/dog/0.jpg" in said
    assert "class     dog" in said
    assert "shape     (30, 40, 3)" in said
    size_of(project / "data/show/image.png")
    image_id = sha256_bytes(make.jpeg(40, 30, seed=0))
    assert run("image", image_id[:8]) == run("image", "pets/dog/0.jpg") == said
    assert run("image") == run("image")
    assert "Did you mean" in run("image", "pets/dog/00.jpg", code=1)


def test_a_name_of_several_images(project: Path) -> None:
    said = run("image", "same.jpg", code=1)
    assert "2 images end with 'same.jpg': pets/$cat_{^$/same.jpg, pets/dog/same.jpg" in said
    assert "class     dog" in run("image", "dog/same.jpg")


def test_folders_and_counts(project: Path) -> None:
    said = run("tree")
    assert "the source/" in said
    assert "└── pets/" in said
    assert "    └── dog/" in said.replace("├", "└")
    assert "1 file rejected" in said
    assert "all" in said
    assert "data/sample/" in said
    counts = {
        line.split("── ")[1].split("/")[0]: int(line.split()[-1])
        for line in said[said.index("data/sample/") :].splitlines()[1:]
    }
    assert counts["train"] == 6
    assert counts["validation"] == 2
    short = run("tree", "--most", "1")
    assert "… and 1 more folder" in short
    assert "… 1 more class" in short


def test_shapes_of_a_batch(project: Path) -> None:
    said = run("batch")
    rows = {line.split()[0]: line for line in said.splitlines() if line}
    assert rows["train"].split()[1] == "6"  # of the sample: three of each class
    assert "(6, 48, 48, 3)" in rows["train"]
    assert "(6, 2)" in rows["train"]
    assert "(7, 48, 48, 3)" in rows["test"]  # which stays whole
    assert "uint8, " in rows["test"]
    assert "not extracted yet" in rows["train"]
    assert "Labels in order: $cat_{^$, dog" in said
    assert "Labels in order: $cat {^$, Dog" in run("batch", "--capitals")
    (project / "data/features").mkdir()
    np.save(project / "data/features/train.npy", np.zeros((11, 16), np.float32))
    assert "(6, 16), float32" in run("batch")
    (project / "data/manifests/sample.csv").unlink()
    assert "(8, 48, 48, 3)" in run("batch").splitlines()[1]  # before a sample was drawn


def backbone(folder: Path, **changes: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(b"weights")
    values: dict[str, Any] = {
        "alpha": 1.0, "image_size": 224, "parameters": 2_257_984, "engine": "keras",
        "weights_sha256": sha256_bytes(b"weights"), "tflite_sha256": None, "parity": None,
    }  # fmt: skip
    write_backbone(folder, models.backbone(**{**values, **changes}))


def head(folder: Path, record: ModelRecord) -> None:
    folder.mkdir(parents=True)
    write_model(folder, record, models.weights(record))


def test_the_model_from_its_records(project: Path) -> None:
    backbone(project / "data/backbone")
    assert "No head is trained yet" in run("model")
    dense = {"kind": "dense", "units": 3, "activation": "softmax"}
    head(project / "data/models/head", models.record(feature_shape=(1280,), head=(dense,)))
    said = run("model")
    assert "tensorflow" not in said.lower()
    # Item 1.4 of the tutorials: 3,843 trainable of 2,261,827.
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert rows["total"] == ["total", "2,261,827", "3,843", "2,257,984"]
    assert rows["mobilenet_v2"][-2:] == ["2,257,984", "0"]
    assert "(n, 224, 224, 3)" in said


def test_the_model_needs_no_tensorflow(project: Path) -> None:
    backbone(project / "data/backbone")
    code = (
        "import sys\nfrom headstart.cli.app import app\nsys.argv = ['headstart', 'show', 'model']\n"
        "try: app()\n"
        "finally: print('tensorflow' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False"


@pytest.mark.slow  # TensorFlow is imported; keras/training/test_layers.py has the counts
def test_every_layer_of_a_cut_base_and_a_map_that_is_flattened(project: Path) -> None:
    backbone(
        project / "data/backbone", name="vgg16", image_size=150, pooling="none",
        feature_shape=(4, 4, 512), parameters=14_714_688,
    )  # fmt: skip
    layers = (
        {"kind": "flatten"},
        {"kind": "dense", "units": 16, "activation": "relu"},
        {"kind": "dropout", "rate": 0.5},
        {"kind": "dense", "units": 3, "activation": "sigmoid"},
    )
    record = models.record(feature_shape=(4, 4, 512), head=layers)
    head(project / "data/models/head", record)
    said = run("model", "--layers")
    # Item 1.7 of the tutorials.
    assert "block5_pool" in said
    assert "(n, 4, 4, 512)" in said
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert rows["backbone"] == ["backbone", "14,714,688", "0", "14,714,688"]
    assert rows["head_0"][-3:] == ["8192)", "0", "0"]
    assert rows["head_1"][-2:] == ["131,088", "131,088"]


def fine_tuned(project: Path, **changes: object) -> None:
    folder = project / "data/models/fine_tuned"
    folder.mkdir(parents=True)
    for name in (BACKBONE_WEIGHTS, UPPER):
        (folder / name).write_bytes(b"not read here")
    record = models.record(
        kind="fine_tuned", feature_shape=(1280,), unfrozen_from="block_16_expand", **changes
    )
    write_model(folder, record, models.weights(record))


@pytest.mark.slow  # as above
def test_a_fine_tuned_model_lists_trainable_layers(project: Path) -> None:
    backbone(project / "data/backbone", alpha=0.35, image_size=64, parameters=410_208)
    fine_tuned(project)
    lines = run("model").splitlines()
    assert "Fine-tuned from block_16_expand up." in lines
    folded = next(line for line in lines if "frozen layers" in line)
    assert folded.startswith("input_layer … block_15_add")
    assert folded.split()[-1] == "0"
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    # The convolutions of the last block and Conv_1; batch normalization stays as it is.
    assert rows["block_16_expand"][-2:] == ["18,816", "18,816"]
    assert rows["Conv_1_bn"][-1] == "0"
    assert rows["head_0"][-1] == "0"
    assert rows["backbone"][1] == "410,208"
    assert len(run("model", "--layers").splitlines()) > 150


@pytest.mark.slow  # as above
def test_a_single_trainable_layer_is_between_frozen_ones(project: Path) -> None:
    backbone(project / "data/backbone", alpha=0.35, image_size=64, parameters=410_208)
    fine_tuned(project, unfrozen_alone=True)
    lines = run("model").splitlines()
    assert "Fine-tuned in block_16_expand only." in lines
    below, learning, above = lines[lines.index("") + 2 :][:3]
    assert below.startswith("input_layer … block_15_add")
    assert learning.split()[-2:] == ["18,816", "18,816"]
    assert above.startswith("block_16_expand_BN … pooling")
    assert above.split()[-1] == "0"


def test_before_anything_has_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True
    )
    monkeypatch.chdir(tmp_path)
    assert "dvc repro download" in run("images", code=1)
    assert "dvc repro download" in run("tree", code=1)
    assert "dvc repro split" in run("batch", code=1)
    assert "dvc repro backbone" in run("model", code=1)


def test_every_subcommand_has_an_example() -> None:
    from headstart.cli import show

    names = [
        command.name or command.callback.__name__
        for command in show.app.registered_commands
        if command.callback
    ]
    assert names == ["images", "image", "tree", "batch", "model", "module"]
    for command in show.app.registered_commands:
        assert "Example: headstart show" in (command.epilog or "")

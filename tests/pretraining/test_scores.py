from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import ParameterError
from pretraining.card import card, table
from pretraining.scores import COLUMNS, Probe, accuracy, add, main, open_source, read
from pretraining.settings import read_settings
from tests.conftest import ROOT


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes that differ in brightness, 20 images each, and a file that is no image."""
    generator = np.random.Generator(np.random.Philox(key=1))
    for label, level in (("dark", 60), ("light", 190)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(20):
            noise = generator.integers(-50, 50, (40, 40, 3))
            image = Image.fromarray((level + noise).astype(np.uint8))
            image.save(tmp_path / "set" / label / f"{number}.png")
    (tmp_path / "set" / "dark" / "no.png").write_bytes(b"no image")
    return tmp_path / "set"


def test_the_command_scores_a_folder_and_adds_to_the_file(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tmp_path / "scores.csv"
    options = f"scores --images {images} --weights random --image-size 32 --scores {scores}"
    monkeypatch.setattr("sys.argv", options.split())
    main()
    header, row = scores.read_text(encoding="utf-8").splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert values["images"] == "set"
    assert int(values["train"]) + int(values["test"]) == 40
    assert float(values["accuracy"]) > 0.8


def test_an_image_is_never_tested_that_is_trained_on(images: Path) -> None:
    for split in ("train", "validation"):
        (images / split).mkdir()
    (images / "dark").rename(images / "train" / "dark")
    (images / "light").rename(images / "train" / "light")
    for label in ("dark", "light"):
        (images / "validation" / label).mkdir()
        source = images / "train" / label
        (images / "validation" / label / "copy.png").write_bytes((source / "1.png").read_bytes())
        (source / "2.png").rename(images / "validation" / label / "2.png")
    found, labels, tested = read(open_source(str(images)), 32, seed=0)
    assert found.shape == (40, 32, 32, 3)
    assert sorted(np.array(labels)[tested]) == ["dark", "light"]


def test_the_probe_learns_what_is_linear() -> None:
    generator = np.random.Generator(np.random.Philox(key=1))
    features = generator.normal(size=(300, 8)).astype(np.float32)
    labels = np.where(features[:, 0] > 0, "a", "b").tolist()
    probe = Probe(features[:200], labels[:200], features[200:], labels[200:])
    assert accuracy(probe) > 0.95


def test_a_run_takes_the_place_of_its_like(tmp_path: Path) -> None:
    row: dict[str, str | int | float] = dict(
        zip(COLUMNS, ("digits", "small", "random", 64, 8, 2, 0.5), strict=True)
    )
    add(tmp_path / "s.csv", [row, {**row, "image_size": 96}])
    add(tmp_path / "s.csv", [{**row, "accuracy": 0.75}])
    text = (tmp_path / "s.csv").read_text(encoding="utf-8")
    assert text.splitlines() == [
        ",".join(COLUMNS),
        "digits,small,random,64,8,2,0.75",
        "digits,small,random,96,8,2,0.5",
    ]
    assert "| 64 | small | random | 0.750 |" in table(text)


def test_the_recipe_is_sound_and_a_fault_is_named(tmp_path: Path) -> None:
    path = ROOT / "pretraining" / "params.yaml"
    settings = read_settings(path)
    assert settings.train.warm_up + settings.train.cool_down <= settings.train.epochs
    (tmp_path / "params.yaml").write_text(
        path.read_text(encoding="utf-8").replace("batch: ", "bach: "), encoding="utf-8"
    )
    with pytest.raises(ParameterError, match=r"train\.bach"):
        read_settings(tmp_path / "params.yaml")


def test_the_shipped_card_says_what_the_shipped_files_say() -> None:
    folder = ROOT / "headstart/keras/networks/weights"
    settings = read_settings(ROOT / "pretraining" / "params.yaml")
    log, scores = (
        (folder / f"headstart-small.{kind}.csv").read_text(encoding="utf-8")
        for kind in ("log", "scores")
    )
    assert len(log.splitlines()) == 1 + settings.train.epochs
    text = card(settings, log, scores, folder / "headstart-small.npz")
    assert (folder / "headstart-small.md").read_text(encoding="utf-8") == text

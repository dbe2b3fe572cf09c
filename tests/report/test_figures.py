"""Figures of odd runs. Warnings are errors here: a missing glyph or a layout that fails is one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from headstart._utils.files import sha256_tree
from headstart.report import drawing, figures
from headstart.training.history import BATCHES, EPOCHS
from tests.conftest import ROOT


def epochs(count: int) -> pd.DataFrame:
    values = np.linspace(0.2, 0.9, count)
    return pd.DataFrame(
        {name: np.arange(1, count + 1) if name == "epoch" else values for name in EPOCHS}
    )


def counts(classes: int) -> Any:
    generator = np.random.Generator(np.random.Philox(key=1))
    table = np.diag(generator.integers(1, 1000, classes)) + generator.integers(
        0, 3, (classes, classes)
    )
    table[0] = 0  # a class without a test image
    return table.astype(np.int64)


def calibrated(rows: int) -> pd.DataFrame:
    share = np.linspace(0.3, 1.0, rows)
    return pd.DataFrame(
        {"bin": np.arange(rows) + 1, "confidence": share, "accuracy": share**2, "count": 10**rows}
    )


def batches(count: int) -> pd.DataFrame:
    step = np.arange(1, count + 1)
    loss = 100.0 / step**2
    return pd.DataFrame(dict(zip(BATCHES, (step, (step + 4) // 5, loss, loss), strict=True)))


def sides(*sizes: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(sizes, columns=["width", "height"])


CASES: dict[str, Callable[[], drawing.Draw]] = {
    "one epoch": lambda: figures.curves("loss", epochs(1), epochs(0)),
    "fine-tuning alone": lambda: figures.curves("accuracy", epochs(0), epochs(3)),
    "both": lambda: figures.curves("accuracy", epochs(300), epochs(1)),
    "one batch": lambda: figures.batches(batches(1)),
    "losses over five powers of ten": lambda: figures.batches(batches(400)),
    "one bin": lambda: figures.calibration(calibrated(1)),
    "no bin": lambda: figures.calibration(calibrated(1).iloc[:0]),
    "bins of millions": lambda: figures.calibration(calibrated(6)),
    "two classes": lambda: figures.confusion(counts(2)),
    "102 classes": lambda: figures.confusion(counts(102)),
    "one size": lambda: figures.sizes(sides((8, 8), (8, 8)), 224),
    "a line and a panorama": lambda: figures.sizes(sides((1, 9_000), (20_000, 3)), 96),
}


SOME = ("one epoch", "one size", "two classes")


@pytest.mark.parametrize("name", CASES)
def test_odd_runs_can_be_drawn(name: str, tmp_path: Path) -> None:
    drawing.write(tmp_path, "it", CASES[name]())
    light, dark = (Image.open(tmp_path / f"it-{inks}.png") for inks in ("light", "dark"))
    assert light.size == dark.size == (640, 480)
    for image in (light, dark):
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        assert (alpha == 0).mean() > 0.2  # nothing behind it
        assert (alpha > 200).mean() > 0.01  # and something drawn
    assert light.tobytes() != dark.tobytes()


@pytest.mark.parametrize("name", ["two classes", "bins of millions", "both"])
def test_the_dark_figure_is_laid_out_like_the_light_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing.write(tmp_path, "taken", CASES[name]())
    lay_out = drawing._lay_out
    monkeypatch.setattr(drawing, "_lay_out", lambda figure, _: lay_out(figure, None))
    drawing.write(tmp_path, "found", CASES[name]())
    for inks in ("light", "dark"):
        taken, found = (tmp_path / f"{which}-{inks}.png" for which in ("taken", "found"))
        assert taken.read_bytes() == found.read_bytes()


def test_the_bytes_hold_no_time_and_no_version(tmp_path: Path) -> None:
    draw = figures.curves("loss", epochs(5), epochs(0))
    drawing.write(tmp_path, "one", draw)
    drawing.write(tmp_path, "two", draw)
    first = (tmp_path / "one-light.png").read_bytes()
    assert first == (tmp_path / "two-light.png").read_bytes()
    with Image.open(io.BytesIO(first)) as image:
        assert set(image.info) <= {"dpi"}


def test_figures_are_the_same_from_two_processes_and_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [drawing.Drawing(name.replace(" ", "-"), CASES[name]()) for name in SOME]
    here = os.getpid()
    drawers = tmp_path / "drawers"

    def noted(folder: Path, name: str, *rest: Any) -> None:
        with drawers.open("a") as file:
            file.write(f"{os.getpid() == here}\n")
        write(folder, name, *rest)

    write = drawing.write
    monkeypatch.setattr(drawing, "write", noted)
    for cores in (2, 1):
        monkeypatch.setattr(drawing, "cores", lambda cores=cores: cores)
        drawing.write_figures(tmp_path / f"{cores}", drawn)
    assert len(list((tmp_path / "1").iterdir())) == 2 * len(SOME)
    assert sha256_tree(tmp_path / "2") == sha256_tree(tmp_path / "1")
    copied = 1 if sys.platform == "linux" else 0
    assert drawers.read_text().split().count("False") == copied


def test_an_error_of_the_other_process_is_raised_here(tmp_path: Path) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    drawn = [drawing.Drawing("good", CASES["one size"]()), drawing.Drawing("bad", full)]
    with pytest.raises(OSError, match="No space left"):
        drawing.write_figures(tmp_path, drawn)
    assert (tmp_path / "good-dark.png").exists()


def test_text_is_as_dark_as_the_page_is_light() -> None:
    def brightness(color: str) -> float:
        return sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) / 3

    assert brightness(drawing.LIGHT.text) < 100
    assert brightness(drawing.DARK.text) > 150


def test_confusion_has_the_same_axes_in_the_report_and_in_dvc() -> None:
    plots = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    (plot,) = (values for entry in plots for name, values in entry.items() if "onfusion" in name)
    (down,) = plot["y"].values()
    assert [f"{axis} class, number" for axis in (down, plot["x"])] == [*figures.CONFUSION_AXES]
    assert (plot["y_label"], plot["x_label"]) == ("actual class", "predicted class")

"""An export folder in a second: a network that tells red, green and blue, in two formats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.locks import exclusive_lock
from headstart.backbones.record import BackboneSummary
from headstart.export.formats import FORMATS, FormatName
from headstart.export.record import (
    ExportedFormat,
    ExportedModel,
    FormatParity,
    format_files,
    write_exported,
)
from headstart.images.resize import SPEC
from tests.conftest import ROOT
from tests.images.made import encoded

CLASSES = ("blue", "green", "red")
SIZE = 16
FORMAT_NAMES: tuple[FormatName, ...] = ("tflite_float32", "saved_model")
COLORS = {"red": (230, 30, 20), "green": (20, 220, 40), "blue": (10, 40, 235)}


def make(folder: Path) -> Path:
    """Write the export folder, in a process of its own because of TensorFlow."""
    command = [sys.executable, "-m", "tests.serving.models", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def shared(factory: pytest.TempPathFactory) -> Path:
    """The export folder, made once for all of the suite's processes. Not to be changed."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "colors"
    with exclusive_lock(root / "colors.lock", "Another process makes the export. Waiting …"):
        if not (folder / "model.json").exists():
            make(folder)
    return folder


def colored(name: str, kind: str = "PNG", side: int = 40, seed: int = 0) -> bytes:
    """An image of a color, with noise, so that two of them differ."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-20, 21, (side, side, 3))
    return encoded(
        Image.fromarray(np.clip(np.array(COLORS[name]) + noise, 0, 255).astype(np.uint8)), kind
    )


def record(folder: Path, names: tuple[FormatName, ...] = FORMAT_NAMES) -> ExportedModel:
    """The record of what lies in ``folder``, with the formats that are named."""
    parity = FormatParity(images=3, probability_differs_at_most=1e-6, same_first_guess=3)
    formats = {
        name: ExportedFormat(
            files=format_files(folder, name),
            bytes=sum((folder / file).stat().st_size for file in format_files(folder, name)),
            parity=dict.fromkeys(FORMATS[name].inputs, parity),
        )
        for name in names
    }
    return ExportedModel(
        kind="head",
        classes=CLASSES,
        image_size=SIZE,
        activation="softmax",
        pixels=SPEC,
        backbone=BackboneSummary(
            name="mobilenet_v2",
            alpha=0.35,
            weights="random",
            image_size=SIZE,
            cut=None,
            pooling="avg",
            random_weights=True,
        ),
        license="none",
        formats=formats,
    )


def write(folder: Path) -> None:
    """Write the export folder in this process."""
    from headstart.keras.export import saved_model
    from headstart.keras.export.reload import Source
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.runtime import configure, keras

    configure(2)
    entry = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255.0)(entry)
    pooled = keras.layers.GlobalAveragePooling2D()(scaled)
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(entry, dense(pooled))
    # Channels are red, green, blue; the classes stand in the order of the alphabet.
    dense.set_weights([6 * np.eye(3, dtype=np.float32)[::-1], np.zeros(3, np.float32)])
    folder.mkdir(parents=True)
    (folder / FORMATS["tflite_float32"].path).write_bytes(to_tflite(model))
    saved_model.write(Source(model, CLASSES), folder / FORMATS["saved_model"].path)
    write_exported(folder, record(folder))


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""`.keras` files of strangers: standard layers, and nothing that runs code or reads files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from headstart._utils.errors import HeadstartError
from headstart.keras.networks import keras_archive
from headstart.keras.networks.keras_archive import load_keras_file
from headstart.keras.runtime import keras
from tests.keras.networks import network_files


def repacked(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    change(contents)
    other = path.with_name("other.keras")
    with zipfile.ZipFile(other, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)
    return other


def with_layer(**values: Any) -> Callable[[dict[str, bytes]], None]:
    """Change the second layer of the configuration."""

    def change(contents: dict[str, bytes]) -> None:
        config = json.loads(contents["config.json"])
        config["config"]["layers"][1].update(values)
        contents["config.json"] = json.dumps(config).encode()

    return change


def with_weights(add: Callable[[h5py.File], None]) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        stream = io.BytesIO(contents["model.weights.h5"])
        with h5py.File(stream, "r+") as file:
            add(file)
        contents["model.weights.h5"] = stream.getvalue()

    return change


def external(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, 4)])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_files.keras_file(tmp_path_factory.mktemp("keras"))


def test_standard_layers_are_loaded(good: Path, tmp_path: Path) -> None:
    assert load_keras_file(good).name == "own"
    # In a sequence, with an operation between layers, an activation by name, and a regularizer.
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(tmp_path / "sequence.keras")
    assert load_keras_file(tmp_path / "sequence.keras").output_shape == (None, 4)
    images = keras.Input((32, 32, 3))
    keras.Model(images, keras.ops.mean(images * 2.0 + 1.0, axis=(1, 2))).save(tmp_path / "o.keras")
    assert load_keras_file(tmp_path / "o.keras").output_shape == (None, 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_layer(class_name="Lambda"), "a layer Lambda"),
        (with_layer(class_name="TFSMLayer"), "a layer TFSMLayer"),
        (with_layer(class_name="StringLookup"), "read files"),
        (with_layer(class_name="__lambda__"), "can be code"),
        (with_layer(module="os", class_name="system"), "needs .* of os"),
        (with_layer(module="keras.src.utils.file_utils", class_name="get_file"), "only layers"),
        (with_layer(module=None, class_name="Mine", registered_name="Pack>Mine"), "Pack>Mine"),
        (lambda contents: contents.update(extra=b"code"), "holds config.json, extra"),
        (lambda contents: contents.pop("metadata.json"), "expected are"),
        (lambda contents: contents.update({"config.json": b"["}), "is damaged"),
        (lambda contents: contents.update({"config.json": b"[" * 100_000}), "is damaged"),
        (lambda contents: contents.update({"model.weights.h5": b"no"}), "is damaged"),
        (with_weights(lambda f: f.__setitem__("x", h5py.SoftLink("/"))), "a link"),
        (with_weights(lambda f: f.__setitem__("x", h5py.ExternalLink("/a", "/"))), "a link"),
        (with_weights(external), "keeps x in another file"),
    ],
)
def test_anything_else_is_refused(change: Any, why: str, good: Path) -> None:
    other = repacked(good, change)
    with pytest.raises(HeadstartError, match=why):
        load_keras_file(other)


def test_a_bomb_is_refused_before_it_is_unpacked(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_archive, "MAX_BYTES", 1000)
    with pytest.raises(HeadstartError, match="unpacks to more than 1,000 bytes"):
        load_keras_file(good)


def test_a_lambda_layer_is_refused_as_keras_saves_it(tmp_path: Path) -> None:
    images = keras.Input((32, 32, 3))
    model = keras.Model(images, keras.layers.Lambda(lambda x: x[:, 0, 0])(images))
    model.save(tmp_path / "code.keras")
    with pytest.raises(HeadstartError, match="was not loaded"):
        load_keras_file(tmp_path / "code.keras")


def test_two_outputs_are_no_backbone(tmp_path: Path) -> None:
    images = keras.Input((32, 32, 3))
    found = keras.layers.Conv2D(4, 3)(images)
    keras.Model(images, [found, found]).save(tmp_path / "two.keras")
    with pytest.raises(HeadstartError, match="2 outputs"):
        load_keras_file(tmp_path / "two.keras")

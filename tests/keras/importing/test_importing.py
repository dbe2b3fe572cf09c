"""Imports from a file and from KerasHub, whose environment is played by this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.files import sha256_file, sha256_tree
from headstart.backbones.network_record import read_network_record
from headstart.keras.importing import environment, presets
from headstart.keras.importing.importing import Description, describe_file, import_preset
from tests.keras.networks import hub_modules, network_files

PACKAGES = {"keras": "3", "keras-hub": "0", "tensorflow": "2"}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give each import a small SavedModel, and keep what was asked for."""
    asked: list[dict[str, Any]] = []

    def run(_python: Path, task: dict[str, Any], _folder: Path) -> dict[str, Any]:
        asked.append(task)
        hub_modules.reusable(Path(task["target"]), 32)
        converter = {"scale": [0.5, 0.25, 0.125], "offset": [1.0, 2.0, 3.0]}
        known = {} if task["architecture"] else converter
        return {"class": "DINOV2Backbone", "packages": PACKAGES, "image_size": 32, **known}

    monkeypatch.setattr(environment, "obtain", lambda _say: Path(sys.executable))
    monkeypatch.setattr(environment, "run", run)
    return asked


def test_a_preset_becomes_a_saved_model_with_a_record(
    tmp_path: Path, tasks: list[dict[str, Any]]
) -> None:
    found = import_preset(
        "keras_hub:dinov2_small", tmp_path / "backbones", Description(), random_weights=False,
        say=print,
    )  # fmt: skip
    record, network = read_network_record(tmp_path / "backbones/dinov2_small.json")
    assert (found.record, found.path) == (record, tmp_path / "backbones/dinov2_small.json")
    assert record.sha256 == sha256_tree(network)
    assert (record.scale, record.offset) == ((0.5, 0.25, 0.125), (1.0, 2.0, 3.0))
    assert (record.license, record.random_weights) == ("Apache-2.0", False)
    assert record.feature_shape == (24,)
    assert record.source.startswith("keras_hub:dinov2_small (DINOV2Backbone, keras 3, keras-hub 0")
    assert tasks[0]["architecture"] is None
    assert tasks[0]["handle"] == "dinov2_small"


def test_random_weights_need_no_download_and_are_recorded(
    tmp_path: Path, tasks: list[dict[str, Any]]
) -> None:
    found = import_preset(
        "keras_hub:vit_small", tmp_path, Description(image_size=32), random_weights=True, say=print
    )
    assert tasks[0]["architecture"]["class"] == "ViTBackbone"
    assert (tasks[0]["handle"], tasks[0]["image_size"]) == (None, 32)
    assert found.record.random_weights
    assert found.record.license == "none needed: random weights"
    assert found.record.scale == pytest.approx((1 / 127.5,) * 3)


def test_a_folder_of_this_machine_is_not_named_in_the_record(
    tmp_path: Path, tasks: list[dict[str, Any]]
) -> None:
    (tmp_path / "deep/siglip preset").mkdir(parents=True)
    found = import_preset(
        f"keras_hub:{tmp_path}/deep/siglip preset", tmp_path, Description(name="own"),
        random_weights=False, say=print,
    )  # fmt: skip
    assert str(tmp_path) not in found.record.source
    assert "siglip preset" in found.record.source
    assert found.record.name == "own"
    assert tasks[0]["handle"] == f"{tmp_path}/deep/siglip preset"


def test_a_preset_without_a_scaling_needs_one(
    tmp_path: Path, tasks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.ARCHITECTURES, "strange", {"class": "ViTBackbone"})
    with pytest.raises(ParameterError, match="--preprocessing"):
        import_preset("keras_hub:strange", tmp_path, Description(), random_weights=True, say=print)
    assert tasks


def test_a_description_of_a_file_is_its_record(tmp_path: Path) -> None:
    network = network_files.keras_file(tmp_path)
    found = describe_file(
        network,
        Description("unit", "bgr", name="mine", license="MIT", source="https://example.org"),
    )
    record = read_network_record(tmp_path / "own.keras.json")[0]
    assert found.record == record
    assert (record.name, record.color_order, record.license) == ("mine", "bgr", "MIT")
    assert record.source == "https://example.org"
    before = sha256_file(found.path)
    again = Description("unit", "bgr", name="mine", license="MIT", source="https://example.org")
    assert describe_file(network, again).path == found.path
    assert sha256_file(found.path) == before


def test_a_file_does_not_say_its_scaling(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="--preprocessing"):
        describe_file(network_files.keras_file(tmp_path), Description())


def test_a_refused_file_gets_no_record(tmp_path: Path) -> None:
    network = network_files.onnx_file(tmp_path, operation="NonZero")
    with pytest.raises(HeadstartError, match="NonZero"):
        describe_file(network, Description("tf"))
    assert not list(tmp_path.glob("*.json"))

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError, ParameterError, UnfitError
from headstart._utils.files import sha256_file
from headstart._utils.records import write_record
from headstart.api.checks import section
from headstart.backbones import network_record
from headstart.backbones.network_record import (
    NetworkRecord,
    check_sha256,
    fit_record,
    kind_of,
    read_network_record,
)
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import BackboneSummary

CONTENT = b"a network"
VALUES: dict[str, Any] = {
    "name": "own",
    "file": "own.onnx",
    "sha256": "76c9b6a7f2b2ca5d8ca6f8e2ac7d1b6a9ffbe01c4d1a4a2a8f3f3d5b8b7d0c11",
    "image_size": 32,
    "scale": (1.0, 1.0, 1.0),
    "offset": (0.0, 0.0, 0.0),
    "color_order": "rgb",
    "feature_shape": (24,),
    "license": "MIT",
    "source": "a file of your own",
}
SECTION: dict[str, Any] = {
    "name": "file", "hub": None, "alpha": 1.0, "weights_sha256": "0" * 64, "image_size": None,
    "cut": None, "pooling": "none", "gray16_bits": None,
}  # fmt: skip


def written(folder: Path, content: bytes = CONTENT, **values: Any) -> Path:
    """A record beside something that nobody reads here."""
    record = NetworkRecord(**{**VALUES, **values})
    folder.mkdir(exist_ok=True)
    (folder / record.file).write_bytes(content)
    right = record.model_copy(update={"sha256": sha256_file(folder / record.file)})
    write_record(folder / f"{record.file}.json", right)
    return folder / f"{record.file}.json"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    record, network = read_network_record(path)
    assert (record.license, record.kind, record.random_weights) == ("MIT", "onnx", False)
    assert network == tmp_path / "own.onnx"
    check_sha256(record, network)
    network.write_bytes(b"another")
    with pytest.raises(HeadstartError, match="is not the one that its record names"):
        check_sha256(record, network)


@pytest.mark.parametrize(
    ("file", "kind"),
    [("a.keras", "keras"), ("a.ONNX", "onnx"), ("a.tflite", "tflite"), ("a", "saved_model")],
)
def test_the_name_tells_the_format(file: str, kind: str) -> None:
    assert kind_of(file) == kind


@pytest.mark.parametrize(
    "values",
    [
        {"file": "../own.onnx"},
        {"file": "/etc/passwd"},
        {"file": "a\\b.onnx"},
        {"file": ".."},
        {"scale": (float("nan"), 1.0, 1.0)},
        {"image_size": 4096},
        {"name": "a/b"},
        {"license": "two\nlines"},
        {"feature_shape": ()},
        {"unknown": 1},
    ],
)
def test_what_no_record_says(values: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(CorruptFileError, match="is not a valid record"):
        read_network_record(path)


def test_links_and_absent_networks_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "own.onnx").rename(tmp_path / "moved")
    with pytest.raises(HeadstartError, match="does not exist"):
        read_network_record(path)
    (tmp_path / "own.onnx").symlink_to(tmp_path / "moved")
    with pytest.raises(HeadstartError, match="is a link"):
        read_network_record(path)


def test_a_folder_is_a_saved_model_of_plain_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tmp_path / "net"
    network.mkdir()
    with pytest.raises(HeadstartError, match=r"nor a SavedModel"):
        network_record.check_files(network)
    (network / "saved_model.pb").touch()
    network_record.check_files(network)
    (network / "link").symlink_to("/etc/hostname")
    with pytest.raises(HeadstartError, match="not a plain file"):
        network_record.check_files(network)
    (network / "link").unlink()
    monkeypatch.setattr(network_record, "MAX_FILES", 0)
    with pytest.raises(HeadstartError, match="more than 0 files"):
        network_record.check_files(network)
    monkeypatch.setattr(network_record, "MAX_BYTES", -1)
    with pytest.raises(HeadstartError, match="more than -1 bytes"):
        network_record.check_files(network)


def test_the_section_names_a_record(tmp_path: Path) -> None:
    path = written(tmp_path)
    BackboneParams(**SECTION, weights=str(path))
    for value, why in (
        (str(tmp_path / "own.onnx"), "Its record is"),
        (str(tmp_path / "none.onnx"), "headstart import-backbone"),
        (str(tmp_path / "none.json"), "There is no file"),
        (f"{'x' * 5000}.json", "There is no file"),
    ):
        with pytest.raises(UnfitError, match=why):
            fit_record(Path(value))
    path.write_text("{}")
    with pytest.raises(UnfitError, match="is not a valid record"):
        fit_record(path)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"image_size": 32}, "must be null with `name: file`"),
        ({"cut": "layer"}, "Only a .keras file has visible layers"),
        ({"pooling": "avg"}, "nothing left to pool"),
        ({"weights_sha256": None}, "must be a sha256"),
        ({"hub": "module"}, "must be null with `name: file`"),
        ({"alpha": 0.5}, "must be 1 with `name: file`"),
    ],
)
def test_what_the_section_refuses(values: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(ParameterError, match=why):
        section(BackboneParams, "backbone", {**SECTION, "weights": str(path), **values})


def test_only_a_keras_file_has_layers() -> None:
    def has(name: str, weights: str) -> bool:
        return BackboneSummary(
            name=name, alpha=1.0, weights=weights, image_size=32, cut=None, pooling="none",
            random_weights=False,
        ).has_layers  # fmt: skip

    assert has("mobilenet", "imagenet")
    assert has("file", "own.keras")
    assert not any(has("file", name) for name in ("own.onnx", "own.tflite", "own"))
    assert not has("hub", "module.keras")

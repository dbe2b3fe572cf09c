from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headstart._utils.errors import ParameterError
from headstart.export import formats
from headstart.pipeline.recipes import overlay
from headstart.stage.parameters import read_params
from tests.stages.small_run import ROOT


def written(folder: Path, formats: list[Any]) -> Path:
    document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["export"]["formats"] = formats
    path = folder / "params.yaml"
    with path.open("w", encoding="utf-8") as stream:
        YAML().dump(document, stream)
    return path


def test_formats_are_read_in_any_order(tmp_path: Path) -> None:
    formats = ["tflite_int8", "keras"]
    assert read_params(written(tmp_path, formats)).export.formats == formats


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        ([], "at least 1 entry"),
        (["keras", "keras"], "a list of different formats"),
        (["pickle"], "one of saved_model, keras, h5, tflite_float32"),
    ],
)
def test_anything_but_a_list_of_formats_is_refused(
    formats: list[Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=said):
        read_params(written(tmp_path, formats))


def test_an_absent_extra_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "tf2onnx" else object())
    assert read_params(written(tmp_path, ["keras"])).export.formats == ["keras"]
    with pytest.raises(ParameterError, match=r"extra `onnx`, of which tf2onnx .*leave onnx"):
        read_params(written(tmp_path, ["keras", "onnx"]))


@pytest.mark.parametrize("name", ["convnext_tiny", "mobilenet_v3_small"])
def test_a_backbone_that_hdf5_cannot_hold_is_refused_before_the_run(
    name: str, tmp_path: Path
) -> None:
    path = written(tmp_path, ["keras", "h5"])
    values = {"name": name, "alpha": 1.0, "weights": "random", "weights_sha256": None}
    path.write_text(overlay(path.read_text(), {"backbone": values}))
    with pytest.raises(ParameterError, match=f"without h5 with `backbone.name: {name}`"):
        read_params(path)
    path.write_text(path.read_text().replace("h5", "tflite_float32"))
    assert read_params(path).export.formats == ["keras", "tflite_float32"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["convnext_tiny", "mobilenet_v3_small"])
def test_hdf5_still_cannot_hold_it(name: str, tmp_path: Path) -> None:
    """If this fails, Keras has learned it: lift the refusal."""
    from headstart.keras.export.keras_file import load_keras, write_h5
    from headstart.keras.export.reload import Source
    from headstart.keras.networks.backbone import build_backbone, feature_model

    backbone = build_backbone(name, 1.0, 32)
    model = feature_model(backbone, None, "avg", "none", dtype="float32")
    write_h5(Source(model), tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"LayerScale|positional arguments"):
        load_keras(tmp_path / "model.h5")

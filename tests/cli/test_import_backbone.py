from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import run
from tests.cli.test_show_module import pasted
from tests.keras.networks import network_files


def test_a_file_is_described_with_its_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network_files.onnx_file(tmp_path)
    said = run("import-backbone", "own.onnx", "--preprocessing", "torch", "--license", "MIT")
    for wanted in ("own, .onnx file", "32 × 32, RGB", "a vector of 24", "license: MIT",
                   "translation", "Written: own.onnx.json"):  # fmt: skip
        assert wanted in said
    params = pasted(said)
    assert (params.name, params.weights) == ("file", "own.onnx.json")
    assert (params.image_size, params.pooling) == (None, "none")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["own.onnx"], "--preprocessing"),
        (["own.onnx", "--preprocessing", "tf", "--random-weights"], "is for keras_hub:PRESET"),
        (["keras_hub:", "--random-weights"], "must name a preset"),
        (["keras_hub:vit_small", "--tokens", "first"], "are for files"),
    ],
)
def test_what_is_asked_for_in_vain(
    words: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network_files.onnx_file(tmp_path)
    assert why in run("import-backbone", *words, code=2)


def test_what_is_no_network(tmp_path: Path) -> None:
    said = run("import-backbone", str(tmp_path / "none.onnx"), "--preprocessing", "tf", code=1)
    assert "does not exist" in said

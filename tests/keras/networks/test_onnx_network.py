"""`.onnx` and `.tflite` files of strangers: what is no plain network is refused before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from headstart._utils.errors import HeadstartError
from headstart.keras.networks import onnx_network
from headstart.keras.networks.network_file import open_network
from headstart.keras.networks.onnx_network import OnnxNetwork, read_onnx
from tests.keras.networks import network_files


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"shape": ("n", 3, "h", "w")}, "fixed square size"),
        ({"shape": ("n", 3, 32, 48)}, "fixed square size"),
        ({"shape": (4, 3, 32, 32)}, "any number of them"),
        ({"shape": ("n", 1, 32, 32)}, "any number of them"),
        ({"shape": ("n", 3, 32)}, "any number of them"),
        ({"kind": TensorProto.UINT8}, "numbers other than float32"),
        ({"more_inputs": ["text"]}, "takes 2 inputs"),
        ({"outputs": ["map"]}, "has the outputs features, map"),
        ({"operation": "NonZero"}, "holds NonZero, which is not translated"),
        ({"operation": "Trilu", "domain": "com.microsoft"}, "com.microsoft.Trilu"),
        ({"operation": "Loop"}, "holds Loop"),
    ],
)
def test_what_is_no_plain_network(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=why):
        open_network(network_files.onnx_file(tmp_path, **options))


def test_one_of_several_outputs_can_be_chosen(tmp_path: Path) -> None:
    path = network_files.onnx_file(tmp_path, outputs=["kept"])
    assert open_network(path, "kept").size == 32


def test_weights_in_other_files_are_never_opened(tmp_path: Path) -> None:
    model = onnx.load_model(str(network_files.onnx_file(tmp_path)))
    kernel = next(each for each in model.graph.initializer if each.name == "kernel")
    kernel.data_location = TensorProto.EXTERNAL
    kernel.ClearField("raw_data")
    kernel.external_data.add(key="location", value="../../../../etc/hostname")
    (tmp_path / "own.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(HeadstartError, match="keeps weights in other files"):
        read_onnx(tmp_path / "own.onnx")


@pytest.mark.parametrize("name", ["own.onnx", "own.tflite"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00" * 1000])
def test_damaged_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HeadstartError, match="cannot be used"):
        open_network(tmp_path / name)


def test_an_older_version_means_the_same(tmp_path: Path) -> None:
    model = onnx.load_model(str(network_files.onnx_file(tmp_path)))
    model.opset_import[0].version = 11
    (tmp_path / "own.onnx").write_bytes(model.SerializeToString())
    found = read_onnx(tmp_path / "own.onnx")
    assert found.opset_import[0].version == onnx_network._CURRENT_OPSET
    assert OnnxNetwork(found, None, "own.onnx").size == 32


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = network_files.onnx_file(tmp_path)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(HeadstartError, match="needs the extra `onnx`"):
        open_network(path)


def test_its_weights_are_counted_and_cannot_be_trained(tmp_path: Path) -> None:
    path = network_files.onnx_file(tmp_path)
    found = OnnxNetwork(read_onnx(path), None, path.name)
    layer = onnx_network.OnnxLayer(found, "network")
    assert layer.trainable_weights == []
    assert [tuple(each.shape) for each in layer.weights] == [(24, 3, 4, 4)]
    assert np.asarray(layer.weights[0]).std() > 0.2

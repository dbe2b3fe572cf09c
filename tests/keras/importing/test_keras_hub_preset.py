"""KerasHub itself, in the environment of an import: 2 GB of packages, so these tests are slow.

Presets are made here, tiny and random, and loaded from a folder and from local servers that
answer as Hugging Face and Kaggle do.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_tree
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.network_record import read_network_record
from headstart.keras.importing import environment, presets
from headstart.keras.importing.importing import Description, import_preset
from headstart.keras.networks.backbone import feature_model
from headstart.keras.networks.conversion import (
    TOLERANCE,
    difference_in_std,
    images,
    run_keras,
    to_tflite,
)
from headstart.keras.networks.network_file import build_network, open_network
from headstart.keras.runtime import tf
from tests.keras.networks.compared import compare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SIDE, PATCH = 56, 14
SMALL: dict[str, dict[str, Any]] = {
    "dinov2": {
        "class": "DINOV2Backbone",
        "arguments": {
            "patch_size": 14, "num_layers": 2, "hidden_dim": 32, "num_heads": 2,
            "intermediate_dim": 64, "image_shape": [SIDE, SIDE, 3],
            "position_embedding_shape": [70, 70, 3],
        },
    },
    "vit": {
        "class": "ViTBackbone",
        "arguments": {
            "image_shape": [SIDE, SIDE, 3], "patch_size": 14, "num_layers": 2, "num_heads": 2,
            "hidden_dim": 32, "mlp_dim": 64,
        },
    },
    "siglip": {
        "class": "SigLIPVisionEncoder",
        "arguments": {
            "patch_size": 14, "hidden_dim": 32, "num_layers": 2, "num_heads": 2,
            "intermediate_dim": 64, "image_shape": [SIDE, SIDE, 3],
        },
    },
    "efficientnet2": {
        "class": "EfficientNetBackbone",
        "converter": "convert_efficientnet",
        "timm": "efficientnetv2_rw_t",
    },
    "mobilenetv5": {
        "class": "MobileNetV5Backbone",
        "arguments": {
            "stackwise_block_types": [["er"], ["uir", "mqa"]],
            "stackwise_num_blocks": [1, 2],
            "stackwise_num_filters": [[16], [32, 32]],
            "stackwise_strides": [[2], [2, 1]],
            "stackwise_act_layers": [["gelu"], ["gelu", "gelu"]],
            "stackwise_exp_ratios": [[4.0], [4.0, 0.0]],
            "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
            "stackwise_dw_kernel_sizes": [[0], [5, 0]],
            "stackwise_dw_start_kernel_sizes": [[0], [3, 0]],
            "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
            "stackwise_exp_kernel_sizes": [[3], [0, 0]],
            "stackwise_pw_kernel_sizes": [[1], [0, 0]],
            "stackwise_num_heads": [[0], [0, 2]],
            "stackwise_key_dims": [[0], [0, 16]],
            "stackwise_value_dims": [[0], [0, 16]],
            "stackwise_kv_strides": [[0], [0, 1]],
            "stackwise_use_cpe": [[False], [False, False]],
            "use_msfa": False,
        },
    },
}  # fmt: skip
#: Writes a preset with random weights, and the features that KerasHub computes with it.
_PRESET = """
import os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, keras_hub, numpy as np
keras.utils.set_random_seed(1)
network = keras_hub.models.DINOV2Backbone(
    patch_size=14, num_layers=2, hidden_dim=32, num_heads=2, intermediate_dim=64,
    image_shape=(56, 56, 3), position_embedding_shape=(70, 70, 3))
network.save_to_preset(sys.argv[1])
keras_hub.layers.DINOV2ImageConverter(
    image_size=(56, 56), scale=[0.01, 0.02, 0.03], offset=[-1.0, -2.0, -3.0],
).save_to_preset(sys.argv[1])
pixels = np.load(sys.argv[2]).astype("float32")
scaled = pixels * np.float32([0.01, 0.02, 0.03]) + np.float32([-1, -2, -3])
np.save(sys.argv[3], network.predict(scaled, verbose=0)[:, 0])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the environment; HEADSTART_TEST_ENVIRONMENTS names a folder that keeps it."""
    kept = os.environ.get("HEADSTART_TEST_ENVIRONMENTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("environments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        try:
            return environment.obtain(print)
        except HeadstartError as error:
            pytest.skip(f"no environment with KerasHub can be made here: {error}")


@pytest.fixture(autouse=True)
def made_environment(python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "obtain", lambda _say: python)


@pytest.fixture(scope="module")
def preset(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dinov2_preset")
    np.save(folder / "pixels.npy", images(SIDE))
    words = [folder / "files", folder / "pixels.npy", folder / "features.npy"]
    subprocess.run([python, "-E", "-s", "-c", _PRESET, *map(str, words)], check=True)
    return folder


def built(record_path: Path) -> Any:
    record, network = read_network_record(record_path)
    return build_network(record, open_network(network))


@pytest.mark.parametrize("family", SMALL)
def test_each_family_converts_and_agrees(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(presets.ARCHITECTURES, f"{family}_small", SMALL[family])
    found = import_preset(
        f"keras_hub:{family}_small", tmp_path, Description(image_size=SIDE), random_weights=True,
        say=print,
    )  # fmt: skip
    assert found.record.random_weights
    vector = len(found.record.feature_shape) == 1
    model = feature_model(built(found.path), None, "none" if vector else "avg", "none")
    assert compare(model, LiteRTFunction(to_tflite(model)), images(SIDE)) <= TOLERANCE
    features = run_keras(model, images(SIDE))
    assert features.std(axis=0).mean() > 0
    if vector:  # A transformer tells patches in another order apart by their positions alone.
        moved = np.roll(images(SIDE), PATCH, axis=2)
        assert difference_in_std(features, run_keras(model, moved)) > 100 * TOLERANCE
    network = tf.saved_model.load(str(read_network_record(found.path)[1]))
    numbered = [np.asarray(each) for each in network.variables if each.dtype.is_integer]
    # SigLIP's positions are integers among its weights, which no random number may replace.
    assert [each.tolist() for each in numbered if each.ndim == 2] == (
        [[list(range((SIDE // PATCH) ** 2))]] if family == "siglip" else []
    )


def test_two_imports_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.ARCHITECTURES, "vit_tiny", SMALL["vit"])
    for name in ("one", "two"):
        import_preset(
            "keras_hub:vit_tiny", tmp_path / name, Description(), random_weights=True, say=print
        )
    assert sha256_tree(tmp_path / "one") == sha256_tree(tmp_path / "two")


def check_preset(preset: Path, handle: str, folder: Path) -> None:
    """Import a preset, and compare the features with those that KerasHub computed itself."""
    found = import_preset(
        f"keras_hub:{handle}", folder, Description(name="dinov2-own", license="MIT"),
        random_weights=False, say=print,
    )  # fmt: skip
    assert found.record.scale == (0.01, 0.02, 0.03)
    assert found.record.offset == (-1.0, -2.0, -3.0)
    assert not found.record.random_weights
    expected = np.load(preset / "features.npy")
    features = run_keras(built(found.path), images(SIDE).astype(np.float32))
    np.testing.assert_allclose(features, expected, atol=2e-5)
    assert expected.std(axis=0).mean() > 0.001


def test_a_preset_in_a_folder(preset: Path, tmp_path: Path) -> None:
    check_preset(preset, str(preset / "files"), tmp_path)


@contextmanager
def serving(answer: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", port), answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Files(BaseHTTPRequestHandler):
    """The files of a folder, one by one."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def send(self, path: str | None, missing: dict[str, str]) -> None:
        file = None if path is None else self.folder / path
        found = file is not None and file.is_file()
        content = file.read_bytes() if file is not None and found else b'{"code": 404}'
        self.send_response(200 if found else 404)
        headers = {"Content-Length": str(len(content)), "ETag": f'"{sha256(content).hexdigest()}"'}
        headers |= {"X-Repo-Commit": "0" * 40} | ({} if found else missing)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def test_a_preset_from_hugging_face(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class HuggingFace(Files):
        folder = preset / "files"

        def do_GET(self) -> None:
            asked.append(self.path)
            _, found, path = self.path.partition("/me/dinov2/resolve/main/")
            self.send(path if found else None, {"X-Error-Code": "EntryNotFound"})

        do_HEAD = do_GET  # noqa: N815 - the server looks for this name

    with serving(HuggingFace) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))
        check_preset(preset, "hf://me/dinov2", tmp_path / "backbones")
    assert any(path.endswith("/model.weights.h5") for path in asked)


def test_a_preset_from_kaggle(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Kaggle(Files):
        folder = preset / "files"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(f"{self.path} {body}")
            self.send(body.get("path"), {})

    with socket.socket() as tried:  # kagglesdk's address for tests
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", 7777))
        except OSError:
            pytest.skip("port 7777 is taken")
    with serving(Kaggle, 7777):
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
        check_preset(preset, "kaggle://me/dinov2/keras/own/1", tmp_path / "backbones")
    assert any("DownloadModelInstanceVersion" in each for each in asked)


def test_what_is_no_backbone_for_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"(?s)could not be imported.*--random-weights"):
        import_preset(
            f"keras_hub:{tmp_path / 'nothing'}", tmp_path, Description(), random_weights=False,
            say=print,
        )  # fmt: skip

"""Weights of every origin: ImageNet's in Keras' folder, a seed's, a file's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_file
from headstart.backbones.registry import BACKBONES
from headstart.downloads.client import RetryPolicy
from headstart.keras.networks import keras_files
from headstart.keras.networks.backbone import build_backbone, call_application, preprocess
from headstart.keras.networks.conversion import images, run_keras
from headstart.keras.networks.pretrained import draw, obtain, repair_variance
from headstart.keras.runtime import keras
from tests.conftest import ROOT

WIDE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


def test_random_weights_are_reported_and_belong_to_the_seed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = obtain("mobilenet", 0.25, 32, "random", 1)
    assert "never trained" in capsys.readouterr().err
    assert first.random_weights
    assert "seed 1" in first.origin
    again = obtain("mobilenet", 0.25, 32, "random", 1).backbone.get_weights()
    other = obtain("mobilenet", 0.25, 32, "random", 2).backbone.get_weights()
    for left, right in zip(first.backbone.get_weights(), again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(again[0], other[0])


@pytest.mark.slow
def test_random_weights_of_two_processes_are_equal() -> None:
    script = (
        "import hashlib; from headstart.keras.networks.backbone import build_backbone; "
        "from headstart.keras.networks.pretrained import draw; "
        "backbone = build_backbone('mobilenet', 0.25, 32); "
        "draw(backbone, 7); "
        "print(hashlib.sha256(b''.join(w.tobytes() for w in backbone.get_weights())).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            cwd=ROOT, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_random_features_neither_vanish_nor_explode(name: str) -> None:
    backbone = obtain(name, 1.0, 64, "random", 3).backbone
    pixels = keras.Input((64, 64, 3))
    model = keras.Model(pixels, backbone(preprocess(pixels, BACKBONES[name].preprocessing)))
    features = run_keras(model, images(64))
    assert 0.05 < features.std() < 50


@pytest.mark.shared
def test_imagenet_weights_in_keras_folder_need_no_network(
    imagenet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    monkeypatch.setattr(keras_files, "_download", _no_download)
    found = obtain("mobilenet_v2", 1.0, 224, "imagenet", 0)
    assert not found.random_weights
    assert found.weights == "imagenet"
    assert WIDE in found.origin
    assert str(imagenet_home) not in found.origin
    # Another size takes the weights of 224 pixels, as Keras does.
    other = obtain("mobilenet_v2", 1.0, 64, "imagenet", 0)
    np.testing.assert_array_equal(found.backbone.get_weights()[0], other.backbone.get_weights()[0])


def _no_download(*_: object) -> None:
    raise AssertionError("nothing is to be downloaded")


@pytest.mark.parametrize(
    ("name", "alpha", "size", "file"),
    [
        ("mobilenet_v2", 1.0, 224, WIDE),
        ("mobilenet_v2", 0.35, 96, WIDE.replace("1.0_224", "0.35_96")),
        ("mobilenet_v2", 1.4, 100, WIDE.replace("1.0", "1.4")),
        ("mobilenet", 0.25, 128, "mobilenet_2_5_128_tf_no_top.h5"),
        ("mobilenet", 1.0, 64, "mobilenet_1_0_224_tf_no_top.h5"),
        ("vgg16", 1.0, 150, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("efficientnet_b0", 1.0, 64, "efficientnetb0_notop.h5"),
    ],
)
def test_without_a_network_the_file_is_named(
    name: str, alpha: float, size: int, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_files, "POLICY", RetryPolicy(attempts=1))
    # A proxy that refuses connections: an offline machine wherever the test runs.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(HeadstartError) as caught:
        obtain(name, alpha, size, "imagenet", 0)
    for part in (file, "https://", str(tmp_path / "models"), "`random`"):
        assert part in str(caught.value)
    assert not list(tmp_path.rglob("*.h5"))


@pytest.mark.shared
def test_weights_that_were_trained_at_another_size_are_offered_and_work(
    imagenet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    monkeypatch.setattr(keras_files, "POLICY", RetryPolicy(attempts=1))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(HeadstartError) as caught:
        obtain("mobilenet_v2", 1.0, 160, "imagenet", 0)
    advice = re.search(
        r"`backbone\.weights: (.+?)`, `backbone\.weights_sha256: (\w+)`", str(caught.value)
    )
    assert advice is not None
    found = obtain("mobilenet_v2", 1.0, 160, advice[1], 0)
    assert sha256_file(Path(advice[1])) == advice[2]
    wide = obtain("mobilenet_v2", 1.0, 224, "imagenet", 0)
    for left, right in zip(found.backbone.get_weights(), wide.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_damaged_file_in_keras_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mobilenet_2_5_128_tf_no_top.h5").write_bytes(b"half a file")
    with pytest.raises(HeadstartError, match=r"mobilenet_2_5_128_tf_no_top\.h5.*Delete it"):
        obtain("mobilenet", 0.25, 128, "imagenet", 0)


def test_get_file_of_keras_is_put_back() -> None:
    from keras.src.utils import file_utils

    assert file_utils.get_file is keras.utils.get_file


def test_weights_of_a_file(tmp_path: Path) -> None:
    source = build_backbone("mobilenet", 0.25, 32)
    draw(source, 5)
    path = tmp_path / "mine.weights.h5"
    source.save_weights(path)
    found = obtain("mobilenet", 0.25, 32, str(path), 0)
    assert found.weights == "mine.weights.h5"
    assert str(tmp_path) not in found.origin
    np.testing.assert_array_equal(found.backbone.get_weights()[0], source.get_weights()[0])


def test_efficientnet_is_the_network_that_keras_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a published weights file: deviations in place of the input's variances.
    source = build_backbone("efficientnet_b0", 1.0, 64)
    draw(source, 5)
    normalization = source.get_layer("normalization")
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    path = tmp_path / "published.weights.h5"
    source.save_weights(path)
    # What keras.applications builds around it, and only for weights="imagenet".
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(path))
    theirs = call_application(BACKBONES["efficientnet_b0"], 1.0, 64, "imagenet")
    batch = images(64)[:4].astype(np.float32)
    expected = run_keras(theirs, batch)
    ours = obtain("efficientnet_b0", 1.0, 64, str(path), 0).backbone
    np.testing.assert_allclose(run_keras(ours, batch), expected, rtol=1e-3, atol=1e-6)
    assert not np.allclose(run_keras(source, batch), expected, rtol=1e-2)
    # Saved and loaded again, it is not mended twice.
    repair_variance(ours)
    np.testing.assert_allclose(run_keras(ours, batch), expected, rtol=1e-3, atol=1e-6)

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import made


@pytest.fixture(scope="package")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted network with 256 features."""
    from headstart.keras.networks.backbone import build_backbone, feature_model
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.networks.pretrained import draw

    backbone = build_backbone("mobilenet", 0.25, made.SIZE)
    draw(backbone, 1)
    path = tmp_path_factory.mktemp("network") / "network.tflite"
    path.write_bytes(to_tflite(feature_model(backbone, None, "avg", "tf")))
    return path


@pytest.fixture(scope="package")
def images(tmp_path_factory: pytest.TempPathFactory) -> made.Images:
    return made.images(tmp_path_factory.mktemp("images") / "shards", 60)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headstart.backbones.downloads import module_location, weights_address, weights_download
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.registry import BACKBONES


def params(**changes: Any) -> BackboneParams:
    values = {
        "name": "mobilenet_v2",
        "hub": None,
        "alpha": 0.35,
        "weights": "imagenet",
        "weights_sha256": None,
        "image_size": 112,
        "cut": None,
        "pooling": "avg",
        "gray16_bits": None,
    }
    return BackboneParams(**{**values, **changes})


def test_weights_are_looked_up_where_keras_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = weights_download(params())
    assert found is not None
    assert not found.present
    assert found.where.endswith("/mobilenet_v2/" + found.kept.name)
    assert found.kept.name == ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5")
    found.kept.parent.mkdir()
    found.kept.write_bytes(b"weights")
    assert weights_download(params()) == type(found)(found.where, found.kept, True, found.megabytes)
    sized = weights_download(params(image_size=96))
    assert sized is not None
    assert "0.35_96_no_top" in sized.where


def test_keras_keeps_the_weights_of_nasnet_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    found = weights_download(params(name="nasnet_mobile", alpha=1.0, image_size=224))
    assert found is not None
    assert found.where.endswith("/nasnet/NASNet-mobile-no-top.h5")
    assert found.kept.name == "nasnet_mobile_no_top.h5"


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "random"},
        {"name": "headstart-small", "alpha": 1.0, "weights": "shipped"},
    ],
)
def test_weights_of_this_machine_are_not_downloaded(changes: dict[str, Any]) -> None:
    assert weights_download(params(**changes)) is None


def test_a_module_is_looked_up_by_its_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    handle = "https://tfhub.dev/google/some/feature_vector/5"
    module = params(name="hub", hub=handle, alpha=1.0, weights="hub")
    found = weights_download(module)
    assert found is not None
    assert (found.present, found.where) == (False, handle)
    module_location(handle).mkdir()
    again = weights_download(module)
    assert again is not None
    assert again.present


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "headstart-small"])
def test_every_backbone_has_a_cost_and_an_address(name: str) -> None:
    spec = BACKBONES[name]
    assert spec.gmacs > 0
    assert spec.parameters > 0
    address = weights_address(spec, 1.0, spec.default_size)
    assert address.startswith("https://storage.googleapis.com/")
    assert "{" not in address

"""The table of backbones: what is refused, in which words, and that TensorFlow is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headstart._utils.errors import ParameterError
from headstart.backbones.registry import BACKBONES, find
from tests.conftest import ROOT


def test_asks_for_no_tensorflow() -> None:
    script = (
        "import sys; from headstart.backbones.registry import find; find('vgg16', 1.0, 150); "
        "sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("name", "near"),
    [("MobileNet-V2", "mobilenet_v2"), ("resnet101v2", "resnet101_v2"), ("vgg-19", "vgg19")],
)
def test_unknown_name_gets_the_nearest(name: str, near: str) -> None:
    with pytest.raises(
        ParameterError, match=f"Got '{name}' instead.*`{near}`.*headstart backbones"
    ):
        find(name, 1.0, 224)


def test_name_like_nothing() -> None:
    with pytest.raises(ParameterError, match="headstart backbones") as caught:
        find("qqqq", 1.0, 224)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        ("mobilenet", 0.35, "one of 0.25, 0.5, 0.75, 1 "),
        ("vgg16", 0.5, "must be 1 with `name: vgg16`"),
    ],
)
def test_unsupported_alpha(name: str, alpha: float, expected: str) -> None:
    with pytest.raises(ParameterError, match=expected):
        find(name, alpha, 224)


def test_too_small_an_image() -> None:
    assert find("inception_v3", 1.0, 75).minimum_size == 75
    with pytest.raises(ParameterError, match=r"≥ 75 with `name: inception_v3`.*Got 74"):
        find("inception_v3", 1.0, 74)


def test_records_are_sound() -> None:
    assert list(BACKBONES) == sorted(BACKBONES)
    for name, record in BACKBONES.items():
        assert record.name == name
        assert 1.0 in record.alphas
        assert record.minimum_size <= record.default_size
        assert not record.weight_sizes or record.default_size in record.weight_sizes

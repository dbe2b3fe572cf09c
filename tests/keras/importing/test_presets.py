from __future__ import annotations

import pytest

from headstart.keras.importing.presets import ARCHITECTURES, PACKAGES, family_of
from tests.conftest import ROOT


def test_every_package_is_pinned_once() -> None:
    names = [line.partition("==")[0] for line in PACKAGES]
    assert all(line.partition("==")[2] for line in PACKAGES)
    assert names == sorted(set(names), key=names.index)


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_what_writes_the_network_is_what_reads_it(package: str) -> None:
    pinned = next(line for line in PACKAGES if line.startswith(f"{package}=="))
    assert pinned in (ROOT / "runtime.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("preset", "scaling", "license_"),
    [
        ("dinov2_small", "torch", "Apache-2.0"),
        ("kaggle://keras/dinov2/keras/dinov2_small/1", "torch", "Apache-2.0"),
        ("hf://me/vit-small-patch16-224", "tf", "Apache-2.0"),
        ("mobilenetv5_300m_enc_gemma3n", "unit", "Gemma Terms of Use"),
        ("efficientnet2_rw_t_ra2_imagenet", "tf", "Apache-2.0"),
    ],
)
def test_the_name_tells_the_family(preset: str, scaling: str, license_: str) -> None:
    family = family_of(preset)
    assert family is not None
    assert (family.preprocessing, family.license) == (scaling, license_)


def test_an_unknown_preset_has_no_family() -> None:
    assert family_of("bert_base_en") is None


def test_every_architecture_belongs_to_a_family() -> None:
    assert all(family_of(name) for name in ARCHITECTURES)

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headstart._utils.files import sha256_tree
from headstart.backbones.parameters import BackboneParams
from tests.cli.running import run
from tests.keras.networks import hub_modules


def pasted(said: str) -> BackboneParams:
    """The lines for params.yaml, taken as they are printed."""
    lines = said.split("under `backbone`:\n")[1].splitlines()
    text = "\n".join(line for line in lines if line.startswith("  "))
    return BackboneParams(**YAML(typ="safe").load(text))


def test_a_module_is_described_with_its_parameters(tmp_path: Path) -> None:
    module = hub_modules.reusable(tmp_path / "module")
    said = run("show", "module", str(module))
    for wanted in (
        "SavedModel of TensorFlow 2", "32 × 32", "a vector of 24",
        "1,872, of which 1,824 are trainable", "1 regularization loss", sha256_tree(module),
        "unfreeze: 1",
    ):  # fmt: skip
        assert wanted in said
    params = pasted(said)
    assert (params.hub, params.image_size, params.pooling) == (str(module), None, "none")


def test_a_map_of_any_size(tmp_path: Path) -> None:
    module = hub_modules.reusable(tmp_path / "module", None, pooled=False)
    said = run("show", "module", str(module))
    assert "of any size" in said
    assert "a map of 112 × 112 × 24 at 224 pixels" in said
    assert (pasted(said).image_size, pasted(said).pooling) == (224, "avg")


def test_features_alone(tmp_path: Path) -> None:
    said = run("show", "module", str(hub_modules.old_format(tmp_path / "module")))
    assert "older hub format: features only" in said
    assert "unfreeze" not in said


@pytest.mark.parametrize("handle", ["nowhere", "gs://bucket/module"])
def test_an_invalid_handle_is_an_error(handle: str) -> None:
    said = run("show", "module", handle, code=2)
    assert "HANDLE must be an http(s) address of a module" in said
    assert repr(handle) in said

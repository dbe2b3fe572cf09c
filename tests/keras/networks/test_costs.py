"""The table of backbones against Keras: where the weights come from, and the cost of a pass."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.backbones.downloads import kept_name, weights_address
from headstart.backbones.registry import BACKBONES
from headstart.keras.networks.backbone import build_backbone, call_application
from headstart.keras.training.layers import multiply_adds

#: The others take seconds to minutes each.
QUICK = ("mobilenet", "mobilenet_v2")
NAMES = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow, pytest.mark.timeout(900)])
    for name, spec in BACKBONES.items()
    if spec.family == "keras.applications"
]


class Asked(Exception):  # noqa: N818 - it carries an address
    """Keras asked for a file."""


@pytest.mark.parametrize("name", NAMES)
def test_keras_asks_for_the_address_of_the_table(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.utils import file_utils

    def get_file(fname: str, origin: str, **_: Any) -> None:
        raise Asked(fname, origin)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    spec = BACKBONES[name]
    alpha, size = spec.alphas[0], (spec.weight_sizes or (spec.default_size,))[0]
    with pytest.raises(Asked) as asked:
        call_application(spec, alpha, size, "imagenet", include_top=False)
    address = weights_address(spec, alpha, size)
    assert asked.value.args == (kept_name(spec, address), address)


@pytest.mark.parametrize("name", [*NAMES, "headstart-small"])
def test_a_pass_costs_what_the_table_says(name: str) -> None:
    spec = BACKBONES[name]
    network = build_backbone(name, 1.0, spec.default_size)
    done = sum(map(multiply_adds, network.layers))
    assert done / 1e9 == pytest.approx(spec.gmacs, rel=0.05)
    assert network.count_params() / 1e6 == pytest.approx(spec.parameters, rel=0.05)

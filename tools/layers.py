"""Write headstart/backbones/layers.txt from Keras: ``python -m tools.layers`` (about 6 minutes)."""

from __future__ import annotations

import sys

from headstart.backbones.layers import TABLE, Node, layers_text
from headstart.backbones.registry import BACKBONES
from headstart.keras.networks.backbone import build_backbone
from headstart.keras.training.layers import nodes_of


def layers_in_keras(name: str, alpha: float, image_size: int) -> list[Node]:
    """Return the layers of a backbone as the installed Keras builds it."""
    return nodes_of(build_backbone(name, alpha, image_size))


if __name__ == "__main__":
    found = {}
    for spec in BACKBONES.values():
        print(spec.name, file=sys.stderr, flush=True)
        found[spec.name] = layers_in_keras(spec.name, spec.alphas[-1], spec.default_size)
    TABLE.write_text(layers_text(found), encoding="ascii")

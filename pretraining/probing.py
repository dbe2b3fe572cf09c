"""A backbone from its name to a converted network of pooled features, for measuring it."""

from __future__ import annotations

from headstart.backbones.registry import find
from headstart.keras.networks.backbone import build_backbone, feature_model
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.networks.pretrained import obtain


def network(name: str, alpha: float, image_size: int, weights: str, seed: int) -> bytes:
    """Pixels, uint8 of shape (n, image_size, image_size, 3), to averaged features, as LiteRT.

    ImageNet weights are those of the backbone's default size, whatever ``image_size``: one file
    to be had, and the same numbers wherever it is measured.
    """
    spec = find(name, alpha, image_size)
    backbone = build_backbone(name, alpha, image_size)
    source_size = spec.default_size if weights == "imagenet" else image_size
    backbone.set_weights(obtain(name, alpha, source_size, weights, seed).backbone.get_weights())
    return to_tflite(feature_model(backbone, None, "avg", spec.preprocessing))

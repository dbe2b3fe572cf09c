"""The large network that the small one learns from, as a file that needs no TensorFlow."""

from __future__ import annotations

from headstart.backbones.registry import find
from headstart.keras.networks.backbone import build_backbone, feature_model
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.networks.pretrained import obtain
from pretraining.recipe import TeacherParams


def teacher_network(params: TeacherParams) -> bytes:
    """The teacher as a LiteRT file: pixels, uint8, to its last map.

    Its weights are those of its default size, which are the better ones: it is given enlarged
    images, not small ones.
    """
    spec = find(params.name, params.alpha, params.image_size)
    backbone = build_backbone(params.name, params.alpha, params.image_size)
    given = obtain(params.name, params.alpha, spec.default_size, params.weights, seed=0)
    backbone.set_weights(given.backbone.get_weights())
    return to_tflite(feature_model(backbone, None, "none", spec.preprocessing))

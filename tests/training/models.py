"""Records of a small model and of its backbone, and weights that fit them."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.backbones.record import BackboneRecord, BackboneSummary, Parity
from headstart.backbones.weights import Weights
from headstart.training.model_folder import ModelRecord, Scores

BACKBONE: dict[str, Any] = {
    "name": "mobilenet_v2",
    "alpha": 0.35,
    "weights": "random",
    "image_size": 64,
    "cut": None,
    "pooling": "avg",
}


def backbone(**changes: Any) -> BackboneRecord:
    """A backbone that was converted: the record of files that are nowhere."""
    values: dict[str, Any] = {
        **BACKBONE,
        "random_weights": True,
        "weights_sha256": "0" * 64,
        "origin": "drawn with seed 42",
        "preprocessing": "tf",
        "feature_shape": (1280,),
        "parameters": 410_208,
        "engine": "litert",
        "tflite_sha256": "1" * 64,
        "parity": Parity(images=16, max_difference_in_std=1e-6),
        **changes,
    }
    return BackboneRecord(**values)


def record(**changes: Any) -> ModelRecord:
    values: dict[str, Any] = {
        "kind": "head",
        "classes": ("a", "b", "c"),
        "feature_shape": (6,),
        "head": (
            {"kind": "batch_normalization", "epsilon": 0.001},
            {"kind": "dropout", "rate": 0.2},
            {"kind": "dense", "units": 3, "activation": "softmax"},
        ),
        "backbone": BackboneSummary(**BACKBONE, random_weights=True),
        "validation": Scores(loss=0.5, accuracy=0.75),
        "chosen_because": "it is the only one",
        **changes,
    }
    return ModelRecord(**values)


def weights(of: ModelRecord, seed: int = 1) -> Weights:
    generator = np.random.default_rng(seed)
    return {
        name: generator.uniform(0.1, 1.0, shape).astype(np.float32)
        for name, shape in of.weight_shapes().items()
    }

"""A small model record and weights that fit it."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.artifacts.model_folder import BackboneSummary, ModelRecord, Scores
from stages.artifacts.weights import Weights

BACKBONE: dict[str, Any] = {
    "name": "mobilenet_v2",
    "alpha": 0.35,
    "weights": "random",
    "image_size": 64,
    "cut": None,
    "pooling": "avg",
}


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

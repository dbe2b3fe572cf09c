"""Numbers of parameters, shapes and steps that the tutorials print, as this project builds them.

Run by ``tools/claims`` as a process of its own; prints one line of JSON, by item. Weights are
random: they decide none of it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from headstart.backbones.registry import BACKBONES
from headstart.evaluation.metrics import binary_accuracy
from headstart.keras.networks.backbone import build_base, feature_model
from headstart.keras.runtime import keras
from headstart.keras.training.batches import filled
from headstart.keras.training.head import build_head, head_spec
from headstart.training.parameters import TrainHeadParams

_BATCH = 32


def main() -> None:
    """Build, count, print."""
    narrow = parts("mobilenet_v2", 224, 3)
    pets = parts("mobilenet_v2", 224, 2)
    fruits = parts("mobilenet", 128, 102, activation="sigmoid")
    vgg = build_base("vgg16", 1.0, 150)
    base = build_base("mobilenet", 1.0, 128)
    base.trainable = False
    whole = getattr(keras.applications, BACKBONES["mobilenet"].function)(
        weights=None, input_shape=(224, 224, 3)
    )
    batch = np.zeros((_BATCH, 224, 224, 3), np.float32)
    none = np.zeros((102, 102), np.float32)
    print(
        json.dumps(
            {
                "0.8": {"output": shape(pets[1].predict_on_batch(pets[0].predict_on_batch(batch)))},
                "1.3": {"output": shape(narrow[0].predict_on_batch(batch))},
                "1.4": numbers(narrow[2]),
                "1.7": {"parameters": vgg.count_params(), "output": list(vgg.output_shape[1:])},
                "4.5": {"parameters": whole.count_params()},
                "4.6": {**numbers(base), "output": list(base.output_shape[1:])},
                "4.7": numbers(fruits[2]),
                "4.10": {"steps": [steps(52_718), steps(17_692)]},
                "4, mistake": {"binary_accuracy": binary_accuracy(none, np.arange(102))},
            }
        )
    )


def parts(name: str, size: int, classes: int, activation: str = "softmax") -> tuple[Any, Any, Any]:
    """A frozen backbone with its pooling, a dense layer, and both as one model."""
    base = build_base(name, 1.0, size)
    base.trainable = False
    features = feature_model(base, None, "avg", BACKBONES[name].preprocessing, dtype="float32")
    entropy = "categorical" if activation == "softmax" else "binary"
    params = TrainHeadParams.model_validate(
        {
            "hidden": [], "batch_normalization": False, "dropout": 0.0, "outputs": "classes",
            "activation": activation, "loss": f"{entropy}_crossentropy", "optimizer": "adam",
            "learning_rate": 0.001, "batch_size": _BATCH, "epochs": 1, "steps_per_epoch": None,
            "early_stopping_patience": None, "class_weights": "none",
        }
    )  # fmt: skip
    width = tuple(features.output_shape[1:])
    head = build_head(head_spec(params, width, classes), width)
    return features, head, keras.Model(features.input, head(features.output))


def numbers(model: Any) -> dict[str, int]:
    """Parameters, and those that learn."""
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_weights)
    return {"trainable": trainable, "parameters": model.count_params()}


def shape(array: Any) -> list[int]:
    """The shape of an array."""
    return [int(side) for side in array.shape]


def steps(images: int) -> int:
    """Batches of an epoch."""
    return len(filled(np.arange(images, dtype=np.int32), _BATCH)[0])


if __name__ == "__main__":
    main()

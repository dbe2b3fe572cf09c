"""Save a backbone of KerasHub as a SavedModel; runs in an environment that has KerasHub.

This file is started by its path (:mod:`headstart.keras.importing.environment`): Headstart is not
installed there, so it imports nothing of it. It reads a task, a JSON object, and writes what it
found out beside the SavedModel.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_hub
import numpy as np
import tensorflow as tf

#: The output that describes an image, by the class of the backbone: the class token behind the last
#: normalization, or what the network gives (a vector, or a map that Headstart pools).
_CLASS_TOKEN = {"DINOV2Backbone", "ViTBackbone"}
_WHOLE = {"EfficientNetBackbone", "MobileNetV5Backbone", "SigLIPVisionEncoder"}
#: Backbones of image and text, of which the part for images is taken.
_WITH_TEXT = {"SigLIPBackbone"}
#: Name of the argument that sets the size of the images, where it is not ``image_shape``.
_SIZE_ARGUMENT = {"EfficientNetBackbone": "input_shape"}
_PACKAGES = ("keras", "keras-hub", "tensorflow")


class RefusedError(Exception):
    """The preset is not a backbone that can be imported."""


def main(path: Path) -> None:
    """Save the SavedModel that the task in a file asks for, and ``found.json`` beside it."""
    task = json.loads(path.read_text(encoding="utf-8"))
    keras.utils.set_random_seed(task["seed"])
    target = Path(task["target"])
    backbone, converter = build(task)
    images = find_encoder(backbone)
    if task["random_weights"]:
        draw(images, task["seed"])
    found = {
        "class": type(images).__name__,
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "parameters": int(images.count_params()),
        **save(images, target),
        **converter,
    }
    (target.parent / "found.json").write_text(json.dumps(found), encoding="utf-8")


def build(task: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the backbone that a task names, and the scaling of its preset's pixels, if known."""
    side = task["image_size"]
    if task["architecture"] is not None:
        name, values = task["architecture"]["class"], architecture(task["architecture"])
        if side is not None:
            values[_SIZE_ARGUMENT.get(name, "image_shape")] = (side, side, 3)
        return getattr(keras_hub.models, name)(**values), {}
    handle = task["handle"]
    loader = keras_hub.src.utils.preset_utils.get_preset_loader(handle)
    name = loader.check_backbone_class().__name__
    if name not in _CLASS_TOKEN | _WHOLE | _WITH_TEXT:
        known = ", ".join(sorted(_CLASS_TOKEN | _WHOLE | _WITH_TEXT))
        raise RefusedError(f"it is a {name}; known are {known}")
    sized = {} if side is None else {_SIZE_ARGUMENT.get(name, "image_shape"): (side, side, 3)}
    backbone = keras_hub.models.Backbone.from_preset(
        handle, load_weights=not task["random_weights"], dtype="float32", **sized
    )
    return backbone, scaling(handle)


def architecture(known: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a backbone, perhaps from the configurations that KerasHub has."""
    if "timm" not in known:
        return dict(known["arguments"])
    converter = import_module(f"keras_hub.src.utils.timm.{known['converter']}")
    return dict(converter.convert_backbone_config({"architecture": known["timm"]}))


def scaling(handle: str) -> dict[str, Any]:
    """Return scale, offset and size of a preset's image converter; empty if it has none."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(handle)
    except (ValueError, FileNotFoundError):
        return {}
    found: dict[str, Any] = {}
    for key, default in (("scale", 1.0), ("offset", 0.0)):
        value = getattr(converter, key)
        numbers = np.asarray(default if value is None else value, np.float64).reshape(-1)
        found[key] = [float(each) for each in np.broadcast_to(numbers, (3,))]
    if converter.image_size is not None:
        found["preset_size"] = int(converter.image_size[0])
    return found


def find_encoder(backbone: Any) -> Any:
    """Return the part of a backbone that sees images."""
    name = type(backbone).__name__
    return backbone.vision_encoder if name in _WITH_TEXT else backbone


def draw(model: Any, seed: int) -> None:
    """Set every weight with two or more axes to random values, the same on every machine.

    Uniform with a variance of 1 / fan-in, from one Philox stream per weight.
    """
    for weight in model.weights:
        shape = tuple(weight.shape)
        if len(shape) < 2 and "bias" in weight.path:
            weight.assign(np.zeros(shape, np.float32))  # Some start from random numbers.
        if len(shape) < 2 or not np.issubdtype(np.dtype(weight.dtype), np.floating):
            continue
        key = int.from_bytes(hashlib.sha256(f"{seed} {weight.path}".encode()).digest()[:8])
        inputs = math.prod(shape[:2] if "depthwise" in weight.path else shape[:-1])
        values = np.random.Generator(np.random.Philox(key=key)).random(shape)
        weight.assign(((2 * values - 1) * math.sqrt(3 / inputs)).astype(np.float32))


def save(model: Any, target: Path) -> dict[str, Any]:
    """Save a model from pixels as it expects them to features; return its sizes."""
    given = model.inputs[0]
    side, other, channels = given.shape[1:]
    if side is None or side != other or channels != 3:
        raise RefusedError(
            f"it takes images of shape {tuple(given.shape[1:])}; set a size with --image-size"
        )
    names, tokens = isinstance(model.input, dict), type(model).__name__ in _CLASS_TOKEN

    def call(images: Any) -> Any:
        found = model({given.name: images} if names else images, training=False)
        return found[:, 0] if tokens else found

    for variable in model.variables:
        if "seed_generator" in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    module = tf.train.Checkpoint()
    module.variables = [weight.value for weight in model.weights]
    module.trainable_variables = [weight.value for weight in model.trainable_weights]
    batch = tf.TensorSpec((None, side, side, 3), tf.float32, "images")
    module.__call__ = tf.function(call, input_signature=[batch], autograph=False)
    shape = module.__call__.get_concrete_function().structured_outputs.shape
    tf.saved_model.save(module, str(target))
    canonical(target)
    if len(shape) not in {2, 4} or None in shape[1:]:
        raise RefusedError(f"it gives features of shape {tuple(shape)}")
    return {"image_size": int(side), "feature_shape": [int(length) for length in shape[1:]]}


def canonical(folder: Path) -> None:
    """Remove what TensorFlow writes about the process: the bytes depend on the network alone."""
    from tensorflow.core.protobuf import saved_model_pb2

    (folder / "fingerprint.pb").unlink(missing_ok=True)
    assets = folder / "assets"
    if assets.is_dir() and not any(assets.iterdir()):
        assets.rmdir()
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(node for each in functions for node in each.node_def)]
        for node in nodes:
            if "config_proto" in node.attr:
                node.attr["config_proto"].s = b""
        functions.sort(key=lambda function: function.signature.name)
    path.write_bytes(saved.SerializeToString(deterministic=True))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except RefusedError as error:
        print(f"REFUSED: {error}", file=sys.stderr)
        sys.exit(3)
    except Exception as error:  # noqa: BLE001 - KerasHub raises what it likes
        print(f"FAILED: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(4)

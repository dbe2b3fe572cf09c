"""Networks in files, as people have them: made here, small, in each format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headstart.backbones.network_record import NetworkRecord
from headstart.keras.importing.importing import Description, describe_file
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.runtime import fresh_names, keras
from tests.keras.networks import hub_modules

SIDE = 32
WIDTH = 24


def keras_model(*, pooled: bool = True, side: int | None = SIDE) -> keras.Model:
    """Two convolutions and what stands between them, with weights that matter."""
    layers = keras.layers
    with fresh_names():
        images = keras.Input((side, side, 3), name="given")
        x = layers.Conv2D(8, 3, strides=2, padding="same", name="block_1_conv")(images)
        x = layers.BatchNormalization(name="block_1_bn")(x)
        x = layers.ReLU(name="block_1_out")(x)
        y = layers.Conv2D(8, 3, padding="same", name="block_2_conv")(x)
        x = layers.Add(name="block_2_add")([x, y])
        x = layers.Conv2D(WIDTH, 3, strides=2, padding="same", name="block_3_conv")(x)
        x = layers.ReLU(name="block_3_out")(x)
        if pooled:
            x = layers.GlobalAveragePooling2D(name="average")(x)
        model = keras.Model(images, x, name="own")
    draw = np.random.default_rng(3)
    model.set_weights(
        [
            np.abs(draw.normal(1, 0.2, each.shape)).astype(np.float32)
            if "variance" in each.name or "gamma" in each.name
            else draw.normal(0, 0.3, each.shape).astype(np.float32)
            for each in model.weights
        ]
    )
    return model


def keras_file(folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    keras_model(**options).save(folder / "own.keras")
    return folder / "own.keras"


def tflite_file(folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.tflite").write_bytes(to_tflite(keras_model(**options)))
    return folder / "own.tflite"


def saved_model(folder: Path) -> Path:
    return hub_modules.reusable(folder / "own", SIDE)


def onnx_file(
    folder: Path,
    *,
    shape: Sequence[int | str | None] = ("n", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    more_inputs: Sequence[str] = (),
    operation: str | None = None,
    domain: str = "",
    tokens: bool = False,
    pooled: bool = True,
    outputs: Sequence[str] = (),
) -> Path:
    """A network as PyTorch exports it: channels second, one batch of any size or of one image."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(5)
    weights = {
        "kernel": draw.normal(0, 0.3, (WIDTH, 3, 4, 4)),
        "bias": draw.normal(0, 0.3, WIDTH),
        "flat": np.array([0, WIDTH, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["map"], strides=[4, 4]),
        helper.make_node("Relu", ["map"], ["kept"]),
    ]
    last = "kept"
    if tokens:
        nodes += [
            helper.make_node("Reshape", ["kept", "flat"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        ]
        last = "tokens"
    elif pooled:
        nodes += [
            helper.make_node("GlobalAveragePool", ["kept"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["features"]),
        ]
        last = "features"
    if operation is not None:
        nodes.append(helper.make_node(operation, [last], ["strange"], domain=domain))
        last = "strange"
    given = [helper.make_tensor_value_info("images", kind, shape)]
    given += [helper.make_tensor_value_info(each, kind, shape) for each in more_inputs]
    made = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in (last, *outputs)
    ]
    arrays = [
        numpy_helper.from_array(
            each.astype(np.int64 if each.dtype.kind == "i" else np.float32), name
        )
        for name, each in weights.items()
    ]
    graph = helper.make_graph(nodes, "own", given, made, arrays)
    domains = [helper.make_opsetid("", 17)]
    domains += [helper.make_opsetid(domain, 1)] if domain else []
    model = helper.make_model(graph, opset_imports=domains)
    model.ir_version = 9
    onnx.save_model(model, str(folder / "own.onnx"))
    return folder / "own.onnx"


#: By the format.
MAKERS: dict[str, Callable[..., Path]] = {
    "keras": keras_file,
    "onnx": onnx_file,
    "saved_model": saved_model,
    "tflite": tflite_file,
}


def recorded(
    network: Path, preprocessing: str = "tf", **description: Any
) -> tuple[Path, NetworkRecord]:
    """Write the record of a network as a person does, and return its path with it."""
    found = describe_file(network, Description(preprocessing=preprocessing, **description))
    return found.path, found.record

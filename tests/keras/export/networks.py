"""A small classifier with what the converters find hard: normalization, a residual, a padding."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from headstart.keras.export.reload import Source, Writer
from headstart.keras.runtime import fresh_names, keras

SIZE = 16


def classifier(activation: str = "softmax", maximum: bool = False) -> Any:
    """Pixels from 0 to 255, float32 (n, 16, 16, 3) -> (n, 3); weights by a fixed seed."""
    with fresh_names():
        entry = keras.Input((SIZE, SIZE, 3), name="pixels")
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(entry)
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        if maximum:
            # All values are below zero, so that the padding decides: zero, not minus infinity.
            x = keras.layers.ReLU()(x)
            x = keras.layers.Rescaling(-1.0, offset=-0.1)(x)
            x = keras.layers.ZeroPadding2D(1)(x)
            x = keras.layers.MaxPooling2D(3, strides=2)(x)
        y = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        y = keras.layers.BatchNormalization()(y)
        y = keras.layers.Activation("relu6")(y)
        x = keras.layers.Add()([x, y])
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dense(3)(x)
        model = keras.Model(entry, keras.layers.Activation(activation)(x), name="classifier")
    generator = np.random.Generator(np.random.Philox(key=3))
    for weight in model.weights:
        values = generator.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


def images(count: int) -> np.ndarray:
    """(count, 16, 16, 3), uint8; smooth, and different in color."""
    generator = np.random.Generator(np.random.Philox(key=4))
    coarse = generator.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, axis=1).repeat(4, axis=2))


def expected(model: Any, batch: np.ndarray) -> np.ndarray:
    """What Keras says."""
    return np.asarray(model(batch.astype(np.float32), training=False))


def written(write: Writer, model: Any, calibration: np.ndarray | None = None) -> bytes:
    """Return the bytes of the file that a writer makes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write(Source(model, calibration=calibration), path)
        return path.read_bytes()

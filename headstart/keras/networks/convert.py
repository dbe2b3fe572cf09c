"""A Keras model as a LiteRT file, for one image at a time, float32, the same bytes everywhere."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from headstart._utils.quiet import quiet_stderr
from headstart.keras.runtime import fresh_names, keras, tf


def to_tflite(model: keras.Model) -> bytes:
    """Convert a model with one input and one output.

    BatchNormalization and Normalization become a scale and a shift, computed here in float64:
    left to the converter, they are computed by TensorFlow's vectorized kernels, whose last bits
    depend on the CPU. The caller runs the result and compares before accepting it.

    Parameters
    ----------
    model : keras.Model
        Functional; models inside of it are looked into. uint8 or float32 in. It is not changed.

    Returns
    -------
    bytes
        A ``.tflite`` file with input shape ``(1, *model.input_shape[1:])``.
    """
    return run(converter(model, model.inputs[0].dtype))


def converter(model: keras.Model, dtype: str) -> Any:
    """TensorFlow's converter, holding the model as :func:`to_tflite` describes it.

    Parameters
    ----------
    model : keras.Model
    dtype : {"uint8", "float32"}
        Of the input, whatever the model's own is: its first layer must take both.
    """
    with fresh_names():
        entry = keras.Input(batch_shape=(1, *model.input_shape[1:]), dtype=dtype, name="input")
        flat = keras.Model(entry, _folded(model, entry, {}), name="network")
    return tf.lite.TFLiteConverter.from_keras_model(flat)


def run(ready: Any) -> bytes:
    """What a converter gives, without what it says."""
    # Both are chatty, on descriptor 2 and on standard output.
    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()):
        return bytes(ready.convert())


class ScaleAndShift(keras.layers.Layer):  # type: ignore[misc]
    """``x * scale + shift`` with constants, a pair for each channel."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray, name: str) -> None:
        super().__init__(name=name)
        self.scale = np.asarray(scale, dtype=np.float32)
        self.shift = np.asarray(shift, dtype=np.float32)

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - Keras passes a mask
        """Apply to a tensor whose last axis holds the channels."""
        return inputs * self.scale + self.shift


def _folded(model: keras.Model, inputs: Any, done: dict[int, Any]) -> Any:
    """Run the layers of a model, with replacements, on another input; weights are shared."""

    def replace(layer: Any) -> Callable[..., Any]:
        if isinstance(layer, keras.Model):
            return lambda tensor, **_: _folded(layer, tensor, done)
        if id(layer) not in done:
            done[id(layer)] = _replacement(layer)
        found: Callable[..., Any] = done[id(layer)]
        return found

    return model._run_through_graph([inputs], operation_fn=replace)  # noqa: SLF001 - not public


def _replacement(layer: Any) -> Any:
    if isinstance(layer, keras.layers.BatchNormalization):
        deviation = np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
        scale = (_float64(layer.gamma) if layer.scale else 1.0) / deviation
        shift = (_float64(layer.beta) if layer.center else 0.0) - _float64(
            layer.moving_mean
        ) * scale
        return ScaleAndShift(scale, shift, layer.name)
    if isinstance(layer, keras.layers.Normalization):
        deviation = np.maximum(np.sqrt(_float64(layer.variance)), keras.config.epsilon())
        scale = (1.0 / deviation).reshape(-1)
        return ScaleAndShift(scale, -_float64(layer.mean).reshape(-1) * scale, layer.name)
    return layer


def _float64(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)

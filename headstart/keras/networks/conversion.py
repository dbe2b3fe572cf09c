"""Conversion of a Keras model to LiteRT, accepted only if it agrees with Keras on real images.

The file takes one image at a time, float32 inside, and has the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.keras.networks.engine import in_batches
from headstart.keras.runtime import fresh_names, keras, silence, tf

#: Largest accepted difference, in standard deviations of the feature.
TOLERANCE = 1e-4
#: The same for a feature that is one position of the map: an average removes most rounding errors.
UNPOOLED_TOLERANCE = 5e-4
#: In a network that enlarges rounding errors, the conversion may differ by this many times as much
#: as one change of the last bits does: every layer rounds.
ROUNDINGS = 10
#: No network may differ by more: beyond, its features are others than those of Keras.
LARGEST = 0.01
#: About the last bit of a bright pixel in float32.
_LAST_BIT = 1e-5


def to_tflite(model: keras.Model) -> bytes:
    """Convert a model with one input and one output.

    BatchNormalization and Normalization become a scale and a shift, computed here in float64:
    left to the converter, they are computed by TensorFlow's vectorized kernels, whose last bits
    depend on the CPU. The caller runs the result and compares before accepting it.

    Parameters
    ----------
    model : keras.Model
        Functional, possibly with models inside; uint8 or float32 input. It is not changed.

    Returns
    -------
    bytes
        A ``.tflite`` file with input shape ``(1, *model.input_shape[1:])``.
    """
    return run_converter(make_converter(model, model.inputs[0].dtype))


def make_converter(model: keras.Model, dtype: str) -> Any:
    """Return TensorFlow's converter of the model, prepared as :func:`to_tflite` describes.

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


def run_converter(converter: Any) -> bytes:
    """Return the converted file, without the messages of the converter."""
    with silence():
        return bytes(converter.convert())


class ScaleAndShift(keras.layers.Layer):  # type: ignore[misc]
    """``x * scale + shift`` with constants, a pair per channel."""

    def __init__(self, scale: np.ndarray, shift: np.ndarray, name: str) -> None:
        super().__init__(name=name)
        self.scale = np.asarray(scale, dtype=np.float32)
        self.shift = np.asarray(shift, dtype=np.float32)

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - Keras passes a mask
        """Return the scaled and shifted tensor, whose last axis holds the channels."""
        # ConvNeXt's first layer is a normalization, and gets the pixels as they come.
        return keras.ops.cast(inputs, "float32") * self.scale + self.shift


def _folded(model: keras.Model, inputs: Any, done: dict[int, Any]) -> Any:
    """Run the layers of a model, with replacements, on another input; weights are shared."""

    def replace(layer: Any) -> Callable[..., Any]:
        if isinstance(layer, keras.Model):
            return lambda tensor, **_: _folded(layer, tensor, done)
        if id(layer) not in done:
            done[id(layer)] = _replacement(layer)
        found: Callable[..., Any] = done[id(layer)]
        return found

    # Neither is public. A Sequential, as in ConvNeXt, holds a functional model.
    graph = getattr(model, "_functional", model)
    return graph._run_through_graph([inputs], operation_fn=replace)  # noqa: SLF001


def _replacement(layer: Any) -> Any:
    if isinstance(layer, keras.layers.BatchNormalization):
        deviation = np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
        scale = (_float64(layer.gamma) if layer.scale else 1.0) / deviation
        offset = _float64(layer.beta) if layer.center else 0.0
        return ScaleAndShift(scale, offset - _float64(layer.moving_mean) * scale, layer.name)
    if isinstance(layer, keras.layers.Normalization):
        deviation = np.maximum(np.sqrt(_float64(layer.variance)), keras.config.epsilon())
        scale = (1.0 / deviation).reshape(-1)
        return ScaleAndShift(scale, -_float64(layer.mean).reshape(-1) * scale, layer.name)
    return layer


def _float64(weight: Any) -> np.ndarray:
    return np.asarray(weight, dtype=np.float64)


def tolerance(pooling: str) -> float:
    """Return the largest difference that is accepted with ``avg``, ``max`` or ``none``."""
    return TOLERANCE if pooling == "avg" else UNPOOLED_TOLERANCE


# Squares of the two photographs that scikit-learn installs (640 × 427): left, top, side in pixels.
# The full height, the quarters, and details: smooth and busy, dark and bright.
_SQUARES = (
    (0, 0, 427),
    (213, 0, 427),
    (0, 0, 256),
    (384, 0, 256),
    (0, 171, 256),
    (384, 171, 256),
    (256, 128, 160),
    (420, 220, 96),
)


def images(size: int) -> npt.NDArray[np.uint8]:
    """Return sixteen real images that need no data set: crops of two photographs.

    Parameters
    ----------
    size : int
        Side in pixels.

    Returns
    -------
    ndarray of shape (16, size, size, 3), uint8
    """
    spec = find_spec("sklearn")  # Found, not imported: the import takes a second.
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("scikit-learn is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    found = []
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(folder / name, formats=["JPEG"]) as image:
            for left, top, side in _SQUARES:
                box = (left, top, left + side, top + side)
                square = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
                found.append(np.asarray(square, dtype=np.uint8))
    return np.stack(found)


def run_keras(model: Any, batch: np.ndarray, at_once: int = 4) -> np.ndarray:
    """Return the outputs of a Keras model in inference; a few images at once, to save memory."""
    return in_batches(lambda part: model(part, training=False), batch, at_once)


def difference_in_std(expected: np.ndarray, got: np.ndarray) -> float:
    """Return the largest difference between two feature arrays, in deviations of each feature.

    Parameters
    ----------
    expected, got : ndarray of shape (images, ...), float32

    Returns
    -------
    float
        Infinite if any value is not finite. The deviation of a feature counts as at least the
        average deviation, and as at least a hundredth of the features' average size: the last bits
        of a feature that hardly varies do not count.
    """
    if expected.shape != got.shape or not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return float("inf")
    exact = expected.astype(np.float64)
    deviation = exact.std(axis=0)
    floor = max(deviation.mean(), 0.01 * np.abs(exact).mean()) or 1.0
    deviation = np.maximum(deviation, floor)
    return float((np.abs(got - exact) / deviation).max(initial=0.0))


def rounding(model: Any, batch: np.ndarray, features: np.ndarray) -> float:
    """Return by how much Keras' features change with the last bits of the pixels.

    Networks with random weights may enlarge such a change from layer to layer, until no two
    computations in float32 agree.

    Parameters
    ----------
    model : keras.Model
        From float32 pixels to features.
    batch : ndarray of shape (n, size, size, 3)
    features : ndarray of shape (n, ...)
        Keras' features of the batch.
    """
    return difference_in_std(features, run_keras(model, batch.astype(np.float32) + _LAST_BIT))

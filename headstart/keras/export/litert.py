"""A classifier as LiteRT files: float32, float16 weights, int8 calibrated on real images.

All take one uint8 image and give float32 probabilities. BatchNormalization is a scale and a shift
before the converter sees it (see
:mod:`headstart.keras.networks.conversion`), which it joins with the layer before.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from headstart._utils.quiet import quiet_stderr
from headstart.keras.networks.conversion import make_converter, run_converter
from headstart.keras.runtime import keras, tf

Pixels = npt.NDArray[np.uint8]


def to_float32(model: keras.Model) -> bytes:
    """A ``.tflite`` file with float32 weights."""
    return run_converter(make_converter(model, "uint8"))


def to_float16(model: keras.Model) -> bytes:
    """A ``.tflite`` file with float16 weights, which LiteRT widens when it loads them."""
    ready = make_converter(model, "uint8")
    ready.optimizations = [tf.lite.Optimize.DEFAULT]
    ready.target_spec.supported_types = [tf.float16]
    return run_converter(ready)


def to_int8(model: keras.Model, calibration: Pixels) -> bytes:
    """A ``.tflite`` file with int8 weights (a scale for each channel) and activations.

    The last operation, softmax or sigmoid, stays in float32: in int8 it could say no probability
    between 0 and 1/256, and the differences of the large ones would be lost.

    Parameters
    ----------
    model : keras.Model
    calibration : ndarray of shape (n, size, size, 3), uint8
        Images like those of training: how large each activation gets on them is what 8 bits
        are divided over.
    """

    def images() -> Iterator[list[Pixels]]:
        for image in calibration:
            yield [image[None]]

    ready = make_converter(model, "uint8")
    ready.optimizations = [tf.lite.Optimize.DEFAULT]
    ready.representative_dataset = images
    last = _output(to_float32(model))
    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # TensorFlow warns of what it calls itself, and of an input that is no float; this one is
        # cast before it is quantized.
        warnings.simplefilter("ignore")
        # The one public way to leave an operation out. Its own debugging is not wanted: no image.
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=ready,
            debug_dataset=lambda: iter(()),
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=[last]),
        )
        return bytes(quantizer.get_nondebug_quantized_model())


def _output(content: bytes) -> str:
    """The name of the network's output, which is that of its last operation."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        return str(Interpreter(model_content=content).get_output_details()[0]["name"])

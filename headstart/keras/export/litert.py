"""LiteRT files of a classifier: float32, float16 weights, int8 calibrated on real images.

All take one uint8 image and give float32 probabilities. BatchNormalization becomes a scale and a
shift before conversion (see :mod:`headstart.keras.networks.conversion`), and the converter fuses
them with the layer before. TensorFlow is imported for writing only.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_bytes
from headstart._utils.machine import cores
from headstart._utils.quiet import quiet_stderr
from headstart.export.parity import Reading

if TYPE_CHECKING:
    import keras

    from headstart.keras.export.reload import Source

Pixels = npt.NDArray[np.uint8]


def to_float32(model: keras.Model) -> bytes:
    """A ``.tflite`` file with float32 weights."""
    from headstart.keras.networks.conversion import make_converter, run_converter

    return run_converter(make_converter(model, "uint8"))


def to_float16(model: keras.Model) -> bytes:
    """A ``.tflite`` file with float16 weights, which LiteRT widens when it loads them."""
    from headstart.keras.networks.conversion import make_converter, run_converter
    from headstart.keras.runtime import tf

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
    from headstart.keras.networks.conversion import make_converter
    from headstart.keras.runtime import tf

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


def write_float32(source: Source, target: Path) -> None:
    """Write the format ``tflite_float32``."""
    write_bytes(target, to_float32(source.model))


def write_float16(source: Source, target: Path) -> None:
    """Write the format ``tflite_float16``."""
    write_bytes(target, to_float16(source.model))


def write_int8(source: Source, target: Path) -> None:
    """Write the format ``tflite_int8``."""
    if source.calibration is None:
        raise ValueError("int8 needs images to calibrate on")
    write_bytes(target, to_int8(source.model, source.calibration))


def read(path: Path, pixels: Pixels, _contents: Sequence[bytes]) -> Reading:
    """Run an exported LiteRT file on images, one by one."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():  # XNNPACK announces itself.
        network = Interpreter(model_path=str(path), num_threads=cores())
        network.allocate_tensors()
    given, result = (
        details()[0]["index"] for details in (network.get_input_details, network.get_output_details)
    )
    found = []
    for image in pixels:
        network.set_tensor(given, image[None])
        network.invoke()
        found.append(network.get_tensor(result)[0])
    return Reading({"pixels": np.stack(found)})


def _output(content: bytes) -> str:
    """The name of the network's output, which is that of its last operation."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        return str(Interpreter(model_content=content).get_output_details()[0]["name"])

"""LiteRT files of a classifier: float32, float16 weights, int8 calibrated on real images.

All take one uint8 image and give float32 probabilities. BatchNormalization becomes a scale and a
shift before conversion (see :mod:`headstart.keras.networks.conversion`), and the converter fuses
them with the layer before. TensorFlow is imported for writing only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_bytes
from headstart._utils.machine import cores
from headstart._utils.quiet import quiet_stderr
from headstart.backbones.litert import LiteRTFunction
from headstart.export.parity import Reading

if TYPE_CHECKING:
    from headstart.keras.export.reload import Source

Pixels = npt.NDArray[np.uint8]


def write_float32(source: Source, target: Path) -> None:
    """Write the format ``tflite_float32``."""
    from headstart.keras.networks.conversion import make_converter, run_converter

    write_bytes(target, run_converter(make_converter(source.model, "uint8")))


def write_float16(source: Source, target: Path) -> None:
    """Write the format ``tflite_float16``, whose weights LiteRT widens when it loads them."""
    from headstart.keras.networks.conversion import make_converter, run_converter
    from headstart.keras.runtime import tf

    ready = make_converter(source.model, "uint8")
    ready.optimizations = [tf.lite.Optimize.DEFAULT]
    ready.target_spec.supported_types = [tf.float16]
    write_bytes(target, run_converter(ready))


def write_int8(source: Source, target: Path) -> None:
    """Write the format ``tflite_int8``: int8 weights (a scale for each channel) and activations.

    The images of calibration show how large each activation gets, which 8 bits are divided over.
    The last operation, softmax or sigmoid, stays in float32: in int8 it could give no probability
    between 0 and 1/256, and the differences of the large ones would be lost.
    """
    from headstart.keras.networks.conversion import make_converter, run_converter
    from headstart.keras.runtime import silence, tf

    calibration = source.calibration
    if calibration is None:
        raise ValueError("int8 needs images to calibrate on")
    ready = make_converter(source.model, "uint8")
    ready.optimizations = [tf.lite.Optimize.DEFAULT]
    ready.representative_dataset = lambda: ([image[None]] for image in calibration)
    last = _output(run_converter(make_converter(source.model, "uint8")))
    with silence():
        # The one public way to leave an operation out. Its own debugging is not wanted: no image.
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=ready,
            debug_dataset=lambda: iter(()),
            debug_options=tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=[last]),
        )
        content = bytes(quantizer.get_nondebug_quantized_model())
    write_bytes(target, content)


def read(path: Path, pixels: Pixels, _contents: Sequence[bytes]) -> Reading:
    """Run an exported LiteRT file on images, one by one."""
    return Reading({"pixels": LiteRTFunction(path, cores())(pixels)})


def _output(content: bytes) -> str:
    """Return the name of the network's output, which is that of its last operation."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        return str(Interpreter(model_content=content).get_output_details()[0]["name"])

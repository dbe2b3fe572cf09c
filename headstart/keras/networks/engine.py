"""Extraction by TensorFlow: for what LiteRT cannot convert, and for a GPU.

The backbone is a frozen graph of one fixed batch shape. A smaller batch is padded, because the
number
of images in a batch changes the bits of each; with it fixed, an image's features depend neither
on its neighbors, nor on the process, nor on the number of threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.backbones.record import BackboneRecord
from headstart.keras.networks.backbone import feature_model, load_base
from headstart.keras.runtime import configure, physical_gpus, tf


def device() -> str:
    """``cpu``, or the kind of the first GPU: part of a fingerprint, because bits differ."""
    if not physical_gpus():
        return "cpu"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return f"gpu {details.get('device_name', 'unknown')}"


class KerasFunction:
    """Pixels to features by the frozen backbone of a backbone folder.

    Parameters
    ----------
    folder : Path
        The backbone folder.
    record : BackboneRecord
        Its record.
    batch : int
        Images that pass at once.
    threads : int
        CPU threads.
    """

    def __init__(self, folder: Path, record: BackboneRecord, batch: int, threads: int) -> None:
        configure(threads)
        base = load_base(record, folder)
        model = feature_model(base, record.cut, record.pooling, record.preprocessing)
        self._function = Frozen(model, batch)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the backbone.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8
            At most ``batch`` images.

        Returns
        -------
        ndarray of shape (n, features) or (n, height, width, channels), float32
        """
        return self._function(pixels)


class Frozen:
    """A model as a graph of one batch shape, its weights as constants.

    Parameters
    ----------
    model : keras.Model
        With one output, from pixels of shape (n, size, size, 3) as uint8 or float32.
    batch : int
        Images that pass at once; fewer are padded.

    Attributes
    ----------
    shape : tuple of int
        Of one image's output.
    """

    def __init__(self, model: Any, batch: int) -> None:
        # Faster on a GPU, and right to three digits only.
        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
        self.batch = batch
        self.shape = tuple(int(side) for side in model.output_shape[1:])
        self._pixels = (batch, *model.input_shape[1:])
        self._function = _frozen(model, self._pixels)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The outputs of at most ``batch`` images, (n, *shape), float32."""
        padded = np.zeros(self._pixels, dtype=np.uint8)
        padded[: len(pixels)] = pixels
        outputs = np.asarray(self._function(tf.constant(padded))[0], dtype=np.float32)
        return outputs[: len(pixels)]


def _frozen(model: Any, shape: tuple[int, ...]) -> Any:
    """The model as a graph with its weights as constants: a third faster than ``predict``."""
    # Public by use, not by name: TensorFlow documents no other way to freeze a function.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    dtype = model.inputs[0].dtype
    traced = tf.function(lambda pixels: model(tf.cast(pixels, dtype), training=False))
    return convert_variables_to_constants_v2(
        traced.get_concrete_function(tf.TensorSpec(shape, tf.uint8))
    )

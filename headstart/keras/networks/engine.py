"""The engine that runs a backbone: LiteRT, or Keras for a GPU and for what does not convert.

TensorFlow is imported when it is needed. With it, the backbone is a frozen graph of one fixed batch
shape, and a smaller batch is padded: the batch's shape changes the bits of every image in it. With
a fixed shape, an image's features depend neither on the images beside it, nor on the process, nor
on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.machine import cores, keras_batch
from headstart.backbones.record import NETWORK, BackboneRecord
from headstart.features.forward_passes import Engine, litert_engine


def engine(folder: Path, record: BackboneRecord) -> Engine:
    """Return the engine that runs a backbone.

    Parameters
    ----------
    folder : Path
        The backbone folder.
    record : BackboneRecord
        Its record.
    """
    if record.engine != "keras":
        return litert_engine(folder / NETWORK, record.image_size, record.gray16_bits)
    device = keras_device()
    batch = keras_batch(device)

    @cache  # Images and views share the one graph that is made.
    def make() -> Frozen:
        from headstart.keras.networks.backbone import feature_model, load_backbone
        from headstart.keras.runtime import configure

        configure(cores())
        backbone = load_backbone(record, folder)
        model = feature_model(backbone, record.cut, record.pooling, record.preprocessing)
        return Frozen(model, batch)

    # A GPU is faster than one Python process that decodes; on a CPU, inference takes all cores.
    decoders = 0 if device == "cpu" else cores()
    return Engine(make, record.image_size, record.gray16_bits, batch, 1, device, decoders)


def keras_device() -> str:
    """Return ``cpu``, or the kind of the first GPU: part of a fingerprint, because bits differ."""
    from headstart.keras.runtime import physical_gpus, tf

    if not physical_gpus():
        return "cpu"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return f"gpu {details.get('device_name', 'unknown')}"


class Frozen:
    """A model as a graph of one batch shape, with its weights as constants.

    Parameters
    ----------
    model : keras.Model
        With one output, from pixels of shape (n, size, size, 3) as uint8 or float32.
    batch : int
        Images per call; fewer are padded.

    Attributes
    ----------
    shape : tuple of int
        Of one image's output.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self.shape = tuple(int(side) for side in model.output_shape[1:])
        self._pixels = (batch, *model.input_shape[1:])
        self._function = freeze(model, batch)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the outputs of at most ``batch`` images, (n, *shape), float32."""
        from headstart.keras.runtime import tf

        padded = np.zeros(self._pixels, dtype=np.uint8)
        padded[: len(pixels)] = pixels
        outputs = np.asarray(self._function(tf.constant(padded))[0], dtype=np.float32)
        return outputs[: len(pixels)]


def freeze(model: Any, batch: int | None) -> Any:
    """Return a model as a function on uint8 pixels whose graph holds the weights as constants.

    On a CPU it is a third faster than ``predict``.

    Parameters
    ----------
    model : keras.Model
    batch : int or None
        Images per call; None: any number.
    """
    # Public by use, not by name: TensorFlow documents no other way to freeze a function.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(_traced(model, batch).get_concrete_function())


def compiled(model: Any) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """Return a model as a function on uint8 pixels, traced once for batches of any length.

    Several threads may call it at once.
    """
    traced = _traced(model, None)
    return lambda batch: np.asarray(traced(batch), np.float32)


def _traced(model: Any, batch: int | None) -> Any:
    from headstart.keras.runtime import tf

    # It is faster on a GPU, but right to three digits only.
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    dtype = model.inputs[0].dtype
    return tf.function(
        lambda pixels: model(tf.cast(pixels, dtype), training=False),
        input_signature=[tf.TensorSpec((batch, *model.input_shape[1:]), tf.uint8, "pixels")],
        autograph=False,
    )


def in_batches(
    function: Callable[[Any], Any], rows: npt.NDArray[Any], count: int
) -> npt.NDArray[np.float32]:
    """Return the outputs of a function for all rows, of which it is given ``count`` at once."""
    starts = range(0, len(rows), count)
    return np.concatenate(
        [np.asarray(function(rows[start : start + count]), np.float32) for start in starts]
    )

"""A whole network of keras.applications: from pixels to the probabilities of ImageNet's classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.registry import Backbone
from headstart.keras.networks.backbone import call_application, load_weights, preprocess
from headstart.keras.networks.keras_files import AbsentFileError
from headstart.keras.networks.pretrained import from_keras, repair_variance
from headstart.keras.runtime import fresh_names, keras, tf


@dataclass(frozen=True)
class Whole:
    """A network with its classifier.

    Attributes
    ----------
    model : keras.Model
        uint8 pixels (n, size, size, 3), red, green, blue, from 0 to 255, to float32 (n, 1000): it
        scales them as its weights were trained.
    origin : str
        Where the weights came from, for people.
    """

    model: keras.Model
    origin: str


def whole(backbone: Backbone, alpha: float, image_size: int, weights: Path | None) -> Whole:
    """Build a network and give it its weights.

    Parameters
    ----------
    backbone : Backbone
        Of keras.applications.
    alpha : float
        One of the record's.
    image_size : int
        Side of the images in pixels, at least the record's least.
    weights : Path or None
        An HDF5 file of the whole network's weights; None: those that Keras downloads.

    Raises
    ------
    ParameterError
        If the classifier cannot take images of this size.
    HeadstartError
        If the weights cannot be had, or belong to another network.
    """
    trained_at = image_size if image_size in backbone.weight_sizes else backbone.default_size
    if weights is None and image_size == trained_at and not backbone.repaired_variance:
        network, origin = _imagenet(backbone, alpha, trained_at)
    else:
        with fresh_names():
            network = call_application(backbone, alpha, image_size, None, include_top=True)
        _check_size(network, backbone, image_size)
        if weights is None:
            # Keras loads its files at the size that they were trained on alone, and then adds a
            # layer to some networks; the weights themselves fit any size.
            trained, origin = _imagenet(backbone, alpha, trained_at)
            network.set_weights(trained.get_weights())
        else:
            _take_file(network, backbone, weights)
            origin = f"the file {weights.name}"
        if backbone.repaired_variance:
            repair_variance(network)
    pixels = keras.Input(shape=(image_size, image_size, 3), dtype="uint8", name="pixels")
    scaled = preprocess(pixels, backbone.preprocessing)
    return Whole(keras.Model(pixels, network(scaled, training=False), name="imagenet"), origin)


def function(model: keras.Model) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
    """A model as a function on arrays, traced once for batches of any length.

    Several threads may call it at once.
    """
    # Faster on a GPU, and right to three digits only.
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
    traced = tf.function(
        lambda pixels: model(pixels, training=False), input_signature=signature, autograph=False
    )
    return lambda batch: np.asarray(traced(batch), np.float32)


def _check_size(network: keras.Model, backbone: Backbone, image_size: int) -> None:
    flattens = any(isinstance(layer, keras.layers.Flatten) for layer in network.layers)
    if flattens and image_size != backbone.default_size:
        raise ParameterError(
            f"The `--image-size` parameter must be {backbone.default_size} with `--backbone "
            f"{backbone.name}`. Got {image_size} instead. Its classifier reads every place of the "
            "last map by itself; networks that average the map take other sizes."
        )


def _imagenet(backbone: Backbone, alpha: float, image_size: int) -> tuple[keras.Model, str]:
    """The network with the weights of Keras' own file, and where they are from."""
    try:
        network, file = from_keras(backbone, alpha, image_size, include_top=True)
    except AbsentFileError as error:
        raise HeadstartError(
            f"The weights of {backbone.name} with its classifier {error.facts} Or name such a "
            "file with `--weights`, or another network with `--backbone`."
        ) from error
    return network, f"Keras' ImageNet weights, {file.url}"


def _take_file(network: keras.Model, backbone: Backbone, path: Path) -> None:
    try:
        load_weights(network, path)
    except HeadstartError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:400]
        raise HeadstartError(
            f"The weights in {path} are not those of a whole {backbone.name} with "
            f"{network.count_params():,} parameters: {reason}\nA file of "
            "`model.save_weights('….weights.h5')`, or one of Keras' own, of the same network is "
            "needed: same `--backbone` and `--alpha`, `include_top=True`, 1000 classes."
        ) from error

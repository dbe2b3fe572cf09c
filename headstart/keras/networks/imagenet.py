"""A network of keras.applications with its classifier: from pixels to ImageNet's probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.registry import BackboneSpec
from headstart.keras.networks.backbone import call_application, load_weights, preprocess
from headstart.keras.networks.keras_files import MissingFileError
from headstart.keras.networks.pretrained import from_keras, repair_variance
from headstart.keras.runtime import fresh_names, keras


@dataclass(frozen=True)
class Classifier:
    """A network with its ImageNet classifier.

    Attributes
    ----------
    model : keras.Model
        uint8 pixels (n, size, size, 3), red, green, blue, from 0 to 255, to float32 (n, 1000). It
        scales the pixels as in the training of its weights.
    origin : str
        Where the weights came from, for people.
    """

    model: keras.Model
    origin: str


def build_classifier(
    spec: BackboneSpec, alpha: float, image_size: int, weights: Path | None
) -> Classifier:
    """Build a network with its classifier and load its weights.

    Parameters
    ----------
    spec : BackboneSpec
        Of keras.applications.
    alpha : float
        One of the spec's.
    image_size : int
        Side of the images in pixels, at least the spec's minimum.
    weights : Path or None
        An HDF5 file with the weights of network and classifier; None uses Keras' own.

    Raises
    ------
    ParameterError
        If the classifier cannot take images of this size.
    HeadstartError
        If the weights cannot be obtained, or belong to another network.
    """
    trained_at = image_size if image_size in spec.weight_sizes else spec.default_size
    if weights is None and image_size == trained_at and not spec.repaired_variance:
        network, origin = _imagenet(spec, alpha, trained_at)
    else:
        with fresh_names():
            network = call_application(spec, alpha, image_size, None, include_top=True)
        _check_size(network, spec, image_size)
        if weights is None:
            # Keras loads its files only at the size of their training, and adds a layer to some
            # networks; the weights themselves fit any size.
            trained, origin = _imagenet(spec, alpha, trained_at)
            network.set_weights(trained.get_weights())
        else:
            _load_file(network, spec, weights)
            origin = f"the file {weights.name}"
        if spec.repaired_variance:
            repair_variance(network)
    pixels = keras.Input(shape=(image_size, image_size, 3), dtype="uint8", name="pixels")
    scaled = preprocess(pixels, spec.preprocessing)
    return Classifier(keras.Model(pixels, network(scaled, training=False), name="imagenet"), origin)


def _check_size(network: keras.Model, spec: BackboneSpec, image_size: int) -> None:
    flattens = any(isinstance(layer, keras.layers.Flatten) for layer in network.layers)
    if flattens and image_size != spec.default_size:
        raise ParameterError(
            f"The `--image-size` parameter must be {spec.default_size} with `--backbone "
            f"{spec.name}`. Got {image_size} instead. Its classifier has weights for "
            "each position of the last map; networks that average the map take other sizes."
        )


def _imagenet(spec: BackboneSpec, alpha: float, image_size: int) -> tuple[keras.Model, str]:
    """Return the network with the weights of Keras' own file, and their origin."""
    try:
        network, file = from_keras(spec, alpha, image_size, include_top=True)
    except MissingFileError as error:
        raise HeadstartError(
            f"The weights of {spec.name} with its classifier {error.facts} Or name such a "
            "file with `--weights`, or another network with `--backbone`."
        ) from error
    return network, f"Keras' ImageNet weights, {file.url}"


def _load_file(network: keras.Model, spec: BackboneSpec, path: Path) -> None:
    try:
        load_weights(network, path)
    except HeadstartError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:400]
        raise HeadstartError(
            f"The weights in {path} are not those of a {spec.name} with its classifier and "
            f"{network.count_params():,} parameters: {reason}\nExpected a file that "
            "`model.save_weights('….weights.h5')` wrote, or one of Keras' own, of the same "
            "network: same `--backbone` and `--alpha`, `include_top=True`, 1000 classes."
        ) from error

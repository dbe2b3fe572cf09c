"""The headless backbone as a Keras model: built, cut, and put between pixels and features."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.record import FILE_FOLDER, MODULE, WEIGHTS, BackboneRecord
from headstart.backbones.registry import BACKBONES, FILE, HUB, BackboneSpec, Preprocessing
from headstart.keras.networks.headstart_small import build_small
from headstart.keras.runtime import fresh_names, keras

# ImageNet's means and deviations of red, green and blue, for pixels from 0 to 1; and the means that
# the Caffe networks subtract, for pixels from 0 to 255, in their order: blue, green, red.
_MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
# Factor and offset of each scaling.
_SCALES: dict[str, tuple[Any, Any]] = {
    "tf": (1 / 127.5, -1.0),
    "unit": (1 / 255, 0.0),
    "torch": (
        [1 / (255 * deviation) for deviation in DEVIATION],
        [-mean / deviation for mean, deviation in zip(_MEAN, DEVIATION, strict=True)],
    ),
    "caffe": (1.0, [-mean for mean in reversed(_CAFFE_MEAN)]),
}


def build_backbone(name: str, alpha: float, image_size: int) -> keras.Model:
    """Build a backbone without classifier or pooling, with Keras' initial weights.

    The names of its layers do not depend on what this process built before.

    Parameters
    ----------
    name, alpha, image_size
        As :func:`headstart.backbones.registry.find` accepts them.

    Returns
    -------
    keras.Model
        From preprocessed images, float32 (n, image_size, image_size, 3), to the last map.
    """
    spec = BACKBONES[name]
    with fresh_names():
        if spec.family == "headstart":
            return build_small(image_size)
        return call_application(spec, alpha, image_size)


def call_application(
    spec: BackboneSpec,
    alpha: float,
    image_size: int,
    weights: str | None = None,
    *,
    include_top: bool = False,
) -> keras.Model:
    """Call the constructor in keras.applications.

    Parameters
    ----------
    weights : {"imagenet"} or None
        None keeps Keras' initial values.
    include_top : bool
        True to add the classifier of ImageNet's thousand classes.
    """
    options: dict[str, Any] = {"alpha": alpha} if len(spec.alphas) > 1 else {}
    with warnings.catch_warnings():
        # Keras warns that other sizes get the weights of 224 pixels; so does our record of origin.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        return getattr(keras.applications, spec.function)(
            include_top=include_top,
            weights=weights,
            input_shape=(image_size, image_size, 3),
            **options,
        )


def load_backbone(
    record: BackboneRecord, folder: Path, weights_folder: Path | None = None
) -> keras.Model:
    """Rebuild the uncut backbone of a backbone folder, with its weights or fine-tuned ones.

    Parameters
    ----------
    record : BackboneRecord
        From :func:`headstart.backbones.record.read_backbone`, which has compared the files with
        their SHA-256.
    folder : Path
        The backbone folder.
    weights_folder : Path or None
        A fine-tuned model's folder, with other weights of this backbone.
    """
    backbone = rebuild_backbone(record, folder)
    if weights_folder is not None or record.name not in {HUB, FILE}:
        load_weights(backbone, (weights_folder or folder) / WEIGHTS)
    return backbone


def rebuild_backbone(record: BackboneRecord, folder: Path) -> keras.Model:
    """Rebuild the uncut backbone of a folder, before its weights are loaded.

    Modules and files have theirs.
    """
    if record.name == HUB:
        from headstart.keras.networks.hub_layer import build_hub

        return build_hub(folder / MODULE, record.image_size)
    if record.name == FILE:
        from headstart.keras.networks.network_file import build_network, open_network, read_copy

        described, network = read_copy(folder / FILE_FOLDER)
        return build_network(described, open_network(network, described.output))
    return build_backbone(record.name, record.alpha, record.image_size)


def load_weights(model: keras.Model, path: Path) -> None:
    """Load weights, and nothing but weights, from an HDF5 file.

    Raises
    ------
    HeadstartError
        If a layer or a shape differs, or a weight of the model is not in the file.
    """
    floats = [weight for weight in model.weights if "float" in weight.dtype]
    for weight in floats:
        # What the file does not hold stays NaN and is noticed below.
        weight.assign(np.full(weight.shape, np.nan, dtype=weight.dtype))
    try:
        model.load_weights(str(path))
    except Exception as error:
        # Keras raises ValueError, KeyError, OSError or others, depending on the fault.
        reason = " ".join(str(error).split())[:400]
        raise HeadstartError(
            f"The weights in {path} are not those of a headless {model.name} with "
            f"{model.count_params():,} parameters: {reason}\nExpected a file that "
            "`model.save_weights('….weights.h5')` wrote for the same backbone: same name and "
            "alpha, `include_top=False`."
        ) from error
    empty = [weight.path for weight in floats if np.isnan(np.asarray(weight)).any()]
    if empty:
        raise HeadstartError(
            f"{path} lacks {len(empty)} of the {len(model.weights)} weights of {model.name}, or "
            f"holds NaN in them; the first is {empty[0]}."
        )


def cut_at(model: keras.Model, layer: str | None) -> keras.Model:
    """Return the part of a model from its input to the output of a layer, sharing its weights.

    Parameters
    ----------
    layer : str or None
        Name of the layer; None is the last.

    Raises
    ------
    ParameterError
        If there is no such layer; the message names the nearest.
    """
    if layer is None:
        return model
    # Not `model.layers`: the joins of ConvNeXt and MobileNetV3 are operations without a layer.
    outputs = {each.name: each.output for each in model.operations}
    if layer not in outputs:
        expected = f"The `backbone.cut` parameter must be a layer of {model.name} or null."
        raise unknown_layer(expected, layer, list(outputs))
    return keras.Model(model.input, outputs[layer], name=model.name)


def unknown_layer(expected: str, layer: str, names: Sequence[str]) -> ParameterError:
    """Return the error about a layer that does not exist, with the nearest names."""
    near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
    hint = f" The nearest names: {', '.join(near)}." if near else ""
    return ParameterError(
        f"{expected} Got {layer!r} instead.{hint} The last ones, bottom up: "
        f"{', '.join(names[-5:])}."
    )


def scaling(kind: Preprocessing) -> tuple[list[float], list[float], Literal["rgb", "bgr"]]:
    """Return factor and offset of each channel, and their order: ``rgb`` or ``bgr``."""
    scale, offset = (
        list(map(float, np.broadcast_to(np.asarray(value, np.float64), (3,))))
        for value in _SCALES.get(kind, (1.0, 0.0))
    )
    return scale, offset, "bgr" if kind == "caffe" else "rgb"


def preprocess(pixels: Any, kind: Preprocessing | str) -> Any:
    """Scale pixels from 0 to 255 (red, green, blue) as in the backbone's training.

    Parameters
    ----------
    pixels : keras tensor of shape (n, size, size, 3), uint8 or float32
    kind : Preprocessing

    Returns
    -------
    keras tensor of the same shape, float32
    """
    # Standard layers only, so that a saved model loads without any code of ours.
    if kind in _SCALES:
        scale, offset = _SCALES[kind]
        scaled = keras.layers.Rescaling(scale, offset=offset, name="preprocessing")(pixels)
        return blue_first(scaled) if kind == "caffe" else scaled
    if keras.backend.standardize_dtype(pixels.dtype) == "float32":
        return pixels
    return keras.ops.cast(pixels, "float32")


def blue_first(pixels: Any) -> Any:
    """Reorder red, green, blue to blue, green, red by a convolution: HDF5 files hold no flip."""
    layer = keras.layers.Conv2D(3, 1, use_bias=False, trainable=False, name="blue_first")
    layer.build((None, None, None, 3))
    layer.set_weights([np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)])
    return layer(pixels)


def pool(activations: Any, pooling: str) -> Any:
    """Reduce each channel to its average or maximum, or return the map itself.

    Parameters
    ----------
    activations : keras tensor of shape (n, height, width, channels)
    pooling : {"avg", "max", "none"}
    """
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name="pooling")(activations)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="pooling")(activations)
    return activations


def feature_model(
    backbone: keras.Model,
    cut: str | None,
    pooling: str,
    preprocessing: Preprocessing | str,
    dtype: str = "uint8",
) -> keras.Model:
    """Return the model from pixels to features, sharing the weights of the backbone.

    Parameters
    ----------
    backbone : keras.Model
        Headless and uncut.
    cut, pooling, preprocessing
        As in a backbone record.
    dtype : {"uint8", "float32"}
        Of the pixels, which go from 0 to 255 either way.

    Returns
    -------
    keras.Model
        (n, size, size, 3) of ``dtype`` -> (n, features) or (n, height, width, channels), float32.
        The backbone is called in inference mode: its BatchNorm and dropout never learn.
    """
    lower = cut_at(backbone, cut)
    pixels = keras.Input(shape=backbone.input_shape[1:], dtype=dtype, name="pixels")
    features = pool(lower(preprocess(pixels, preprocessing), training=False), pooling)
    return keras.Model(pixels, features, name="features")

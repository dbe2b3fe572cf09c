"""The weights of a backbone: ImageNet's through Keras, drawn from a seed, from a file or a
module.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.files import sha256_file
from headstart._utils.seeds import derive
from headstart.backbones.hub_handles import short_name
from headstart.backbones.registry import Backbone, Preprocessing, check_weights, find
from headstart.keras.networks.backbone import build_base, call_application, load_weights, preprocess
from headstart.keras.networks.fetch import WeightsFile, find_or_download
from headstart.keras.networks.parity import images
from headstart.keras.networks.shipped import PATH as SHIPPED
from headstart.keras.networks.shipped import SHA256, load_npz, load_shipped
from headstart.keras.runtime import fresh_names, keras, tf

_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pretrained:
    """A backbone with its weights.

    Attributes
    ----------
    base : keras.Model
        Headless and uncut.
    weights : str
        ``imagenet``, ``shipped``, ``random``, the name of the file, or the handle of the module.
    random_weights : bool
        No pretraining at all.
    origin : str
        Where they came from, for people: no path of this machine in it.
    """

    base: keras.Model
    weights: str
    random_weights: bool
    origin: str


def obtain(name: str, alpha: float, image_size: int, weights: str, seed: int) -> Pretrained:
    """Build a backbone and give it its weights.

    Parameters
    ----------
    name, alpha, image_size, weights
        The parameters of the section ``backbone``.
    seed : int
        Of ``weights: random``.

    Raises
    ------
    ParameterError
        If there is no such base.
    HeadstartError
        If the weights cannot be had, or belong to another backbone.
    """
    backbone = find(name, alpha, image_size)
    check_weights(backbone, weights)
    if weights == "imagenet":
        return _imagenet(backbone, alpha, image_size)
    base = build_base(name, alpha, image_size)
    if weights == "shipped":
        load_shipped(base)
        origin = f"shipped with Headstart, {SHIPPED.name}, sha256 {SHA256}"
        return Pretrained(base, weights, False, origin)
    if weights == "random":
        print(
            "\n*** backbone.weights is `random`: this backbone was never trained. The "
            "pipeline runs, but nothing is transferred, and accuracies say little. Set it to "
            "`imagenet` for real work. ***\n",
            file=sys.stderr,
        )
        draw(base, seed)
        settle(base, backbone.preprocessing)
        return Pretrained(base, weights, True, f"random numbers of seed {seed}: no pretraining")
    path = Path(weights)
    if path.suffix == ".npz":
        load_npz(base, path)
    else:
        load_weights(base, path)
    if backbone.repaired_variance:
        repair_variance(base)
    return Pretrained(base, path.name, False, f"the file {path.name}, sha256 {sha256_file(path)}")


def from_hub(
    handle: str, sha256: str | None, image_size: int | None, pooling: str, folder: Path
) -> tuple[Pretrained, str]:
    """A module of TensorFlow Hub as a backbone; its files go into a folder that does not exist yet.

    Parameters
    ----------
    handle, sha256, image_size, pooling
        The parameters of the section ``backbone``.
    folder : Path

    Returns
    -------
    pretrained : Pretrained
    sha256 : str
        Of the module's files.

    Raises
    ------
    ParameterError
        If size or pooling do not fit what the module takes and gives.
    HeadstartError
        If it cannot be had, or is no module of image features.
    """
    from headstart.keras.networks.hub import build_hub
    from headstart.keras.networks.hub_files import obtain_module

    found = obtain_module(handle, sha256, folder)
    base = build_hub(folder, image_size)
    if pooling != "none" and len(base.output_shape) == 2:
        raise ParameterError(
            "The `backbone.pooling` parameter must be none: this module gives a feature vector of "
            f"{base.output_shape[1]:,}, with nothing left to pool. Got {pooling!r} instead."
        )
    name = short_name(handle)
    return Pretrained(base, name, False, f"the module {name}, sha256 {found}"), found


def draw(base: keras.Model, seed: int) -> None:
    """Give every kernel random values; all else keeps the constants that Keras starts from.

    Uniform with a variance of 1 / fan-in (LeCun et al., "Efficient backprop", 1998), from one
    Philox stream a variable: the same bits on every machine and in any order of layers.
    """
    for layer in base.layers:
        for variable in layer.weights:
            if "kernel" not in variable.name:
                continue
            # The last axis holds the outputs, except in a depthwise kernel: every channel on its
            # own.
            apart = isinstance(layer, keras.layers.DepthwiseConv2D) or "depth" in variable.name
            limit = math.sqrt(3 / math.prod(variable.shape[:2] if apart else variable.shape[:-1]))
            key = derive(seed, "backbone", variable.path)
            values = np.random.Generator(np.random.Philox(key=key)).random(variable.shape)
            variable.assign(((2 * values - 1) * limit).astype(np.float32))


def settle(base: keras.Model, preprocessing: Preprocessing) -> None:
    """Give every BatchNorm the variance that it meets on real images, as training would.

    At rest (variance 1) signals fade or grow with every block: features of 1e-7, or so wild that
    two engines' roundings differ by 0.005 of a deviation. Powers of four alone are taken, so that
    the result does not hang on the last bits of this CPU.
    """

    def measuring(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer

        def measured(values: Any, **_: Any) -> Any:
            deviation = max(float(np.asarray(values).std()), 1e-6)
            variance = 4.0 ** round(math.log2(deviation))
            shape = layer.moving_variance.shape
            layer.moving_variance.assign(np.full(shape, variance, dtype=np.float32))
            return layer(values, training=False)

        return measured

    pixels = tf.constant(images(base.input_shape[1])[::4], dtype="float32")
    base._run_through_graph(  # noqa: SLF001 - the public ways do not stop at layers
        [preprocess(pixels, preprocessing)], operation_fn=measuring
    )


def _imagenet(backbone: Backbone, alpha: float, image_size: int) -> Pretrained:
    base, file = from_keras(backbone, alpha, image_size)
    if backbone.repaired_variance:
        weights, base = base.get_weights(), build_base(backbone.name, alpha, image_size)
        base.set_weights(weights)
        repair_variance(base)
    origin = f"Keras' ImageNet weights, {file.url}, sha256 {sha256_file(file.path)}"
    return Pretrained(base, "imagenet", False, origin)


def from_keras(
    backbone: Backbone, alpha: float, image_size: int, *, include_top: bool = False
) -> tuple[keras.Model, WeightsFile]:
    """A network of keras.applications with its ImageNet weights, and the file that they are from.

    Raises
    ------
    HeadstartError
        If the file cannot be had, or does not hold them.
    """
    with fresh_names(), _own_get_file() as files:
        try:
            network = call_application(
                backbone, alpha, image_size, "imagenet", include_top=include_top
            )
        except HeadstartError:
            raise
        except Exception as error:
            if not files:
                raise
            raise HeadstartError(
                f"{files[-1].path} does not hold the weights of {backbone.name}: {error} It is "
                "damaged or another file of that name. Delete it; it is then fetched again from "
                f"{files[-1].url}."
            ) from error
    return network, files[-1]


@contextmanager
def _own_get_file() -> Iterator[list[WeightsFile]]:
    """Let Keras name the file, and get it our way; the list tells what was asked for."""
    from keras.src.utils import file_utils

    files: list[WeightsFile] = []

    def get_file(
        fname: str,
        origin: str,
        *,
        cache_subdir: str = "models",
        file_hash: str | None = None,
        **_: Any,
    ) -> str:
        files.append(find_or_download(fname, origin, file_hash, cache_subdir))
        return str(files[-1].path)

    original, file_utils.get_file = file_utils.get_file, get_file
    try:
        yield files
    finally:
        file_utils.get_file = original


def repair_variance(base: keras.Model) -> None:
    """Square what Keras' file holds in place of the input's variances.

    EfficientNet's files hold the deviations, and keras.applications adds a layer that divides by
    their roots, for ``weights="imagenet"`` alone. Mended in the weights, the network is one and the
    same wherever its weights come from. A file that is right already is left as it is.
    """
    for layer in base.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            held = np.asarray(layer.adapt_variance, dtype=np.float64)
            if np.allclose(held, _DEVIATION, rtol=1e-3):
                layer.adapt_variance.assign((held**2).astype(np.float32))
            layer.finalize_state()

"""The weights of a backbone: from Keras, a seed, a file, this project or TensorFlow Hub."""

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
from headstart._utils.files import sha256_file, sha256_tree
from headstart._utils.seeds import derive
from headstart.backbones.parameters import handle_name
from headstart.backbones.registry import BackboneSpec, Preprocessing, find
from headstart.keras.networks.backbone import (
    DEVIATION,
    build_backbone,
    call_application,
    load_weights,
    preprocess,
)
from headstart.keras.networks.conversion import images
from headstart.keras.networks.headstart_small import SHIPPED, SHIPPED_SHA256, load_npz, load_shipped
from headstart.keras.networks.keras_files import KerasFile, find_or_download
from headstart.keras.runtime import fresh_names, keras, silence, tf


@dataclass(frozen=True)
class Pretrained:
    """A backbone with its weights.

    Attributes
    ----------
    backbone : keras.Model
        Headless and uncut.
    weights : str
        ``imagenet``, ``shipped``, ``random``, the name of the file, or the handle of the module.
    license : str or None
        Of a network from a file, as its record has it.
    random_weights : bool
        True if there was no pretraining at all.
    origin : str
        Where the weights came from, for people; without any path of this machine.
    """

    backbone: keras.Model
    weights: str
    random_weights: bool
    origin: str
    license: str | None = None


def obtain(name: str, alpha: float, image_size: int, weights: str, seed: int) -> Pretrained:
    """Build a backbone and load its weights.

    Parameters
    ----------
    name, alpha, image_size, weights
        The parameters of the section ``backbone``.
    seed : int
        Of ``weights: random``.

    Raises
    ------
    ParameterError
        If a value is impossible.
    HeadstartError
        If the weights cannot be obtained, or belong to another backbone.
    """
    spec = find(name, alpha, image_size, weights)
    if weights == "imagenet":
        return _imagenet(spec, alpha, image_size)
    backbone = build_backbone(name, alpha, image_size)
    if weights == "shipped":
        load_shipped(backbone)
        origin = f"shipped with Headstart, {SHIPPED.name}, sha256 {SHIPPED_SHA256}"
        return Pretrained(backbone, weights, False, origin)
    if weights == "random":
        print(
            "\n*** backbone.weights is `random`: this backbone was never trained. The pipeline "
            "runs, but nothing is transferred, and its accuracies mean little. Set it to "
            "`imagenet` for real work. ***\n",
            file=sys.stderr,
        )
        draw(backbone, seed)
        settle(backbone, spec.preprocessing)
        origin = f"random numbers of seed {seed}: no pretraining"
        return Pretrained(backbone, weights, True, origin)
    path = Path(weights)
    if path.suffix == ".npz":
        load_npz(backbone, path)
    else:
        load_weights(backbone, path)
    if spec.repaired_variance:
        repair_variance(backbone)
    origin = f"the file {path.name}, sha256 {sha256_file(path)}"
    return Pretrained(backbone, path.name, False, origin)


def from_hub(
    handle: str, sha256: str | None, image_size: int | None, pooling: str, folder: Path
) -> tuple[Pretrained, str]:
    """Copy a TensorFlow Hub module into a new folder and build a backbone from it.

    Parameters
    ----------
    handle, sha256, image_size, pooling
        The parameters of the section ``backbone``.
    folder : Path
        Does not exist yet.

    Returns
    -------
    pretrained : Pretrained
    sha256 : str
        Of the module's files.

    Raises
    ------
    ParameterError
        If size or pooling do not fit the module's input and output.
    HeadstartError
        If the module cannot be obtained, or gives no image features.
    """
    from headstart.keras.networks.hub_files import copy_module
    from headstart.keras.networks.hub_layer import build_hub

    found = copy_module(handle, sha256, folder)
    backbone = build_hub(folder, image_size)
    _require_map(backbone, pooling, "this module")
    name = handle_name(handle)
    return Pretrained(backbone, name, False, f"the module {name}, sha256 {found}"), found


def from_file(path: Path, sha256: str | None, pooling: str, folder: Path) -> tuple[Pretrained, str]:
    """Copy a network and its record into a new folder, and build a backbone from it.

    Parameters
    ----------
    path, sha256 : Path and str or None
        Of the record: ``weights`` and ``weights_sha256`` of the section ``backbone``.
    pooling : str
    folder : Path
        Does not exist yet.

    Returns
    -------
    pretrained : Pretrained
    sha256 : str
        Of the files in the folder.

    Raises
    ------
    ParameterError
        If the pooling does not fit the network's output.
    HeadstartError
        If the network is not the recorded one, or cannot be used.
    """
    from headstart.keras.networks import network_file

    record = network_file.copy_network(path, sha256, folder)
    network = folder / record.file
    backbone = network_file.build_network(record, network_file.open_network(network, record.output))
    network_file.verify(backbone, record, network)
    if record.random_weights:
        print(
            f"\n*** {record.file} has random weights: it was never trained. The pipeline runs, but "
            "nothing is transferred, and its accuracies mean little. ***\n",
            file=sys.stderr,
        )
    _require_map(backbone, pooling, f"the network {record.file}")
    return Pretrained(
        backbone,
        record.file,
        record.random_weights,
        network_file.origin(record),
        "none needed" if record.random_weights else record.license,
    ), sha256_tree(folder)


def _require_map(backbone: keras.Model, pooling: str, what: str) -> None:
    if pooling != "none" and len(backbone.output_shape) == 2:
        raise ParameterError(
            f"The `backbone.pooling` parameter must be none: {what} gives a feature vector of "
            f"{backbone.output_shape[1]:,}, with nothing left to pool. Got {pooling!r} instead."
        )


def draw(backbone: keras.Model, seed: int) -> None:
    """Set every kernel to random values; the other weights keep Keras' initial constants.

    Uniform with a variance of 1 / fan-in (LeCun et al., "Efficient backprop", 1998), from one
    Philox stream per variable: the same bits on every machine and in any order of layers.
    """
    for layer in backbone.layers:
        for variable in layer.weights:
            if "kernel" not in variable.name:
                continue
            # The last axis holds the outputs, except in a depthwise kernel, whose channels are
            # separate.
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) or "depth" in variable.name
            inputs = variable.shape[:2] if depthwise else variable.shape[:-1]
            limit = math.sqrt(3 / math.prod(inputs))
            key = derive(seed, "backbone", variable.path)
            values = np.random.Generator(np.random.Philox(key=key)).random(variable.shape)
            variable.assign(((2 * values - 1) * limit).astype(np.float32))


def settle(backbone: keras.Model, preprocessing: Preprocessing) -> None:
    """Set the variance of every BatchNorm to what it meets on real images, as training would.

    With the initial variance of 1, signals fade or grow with every block: features of 1e-7, or so
    wild that the roundings of two engines differ by 0.005 of a deviation. Variances are rounded to
    powers of four, so that the result does not depend on the last bits of this CPU.
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

    pixels = tf.constant(images(backbone.input_shape[1])[::4], dtype="float32")
    with silence():  # Grouped convolutions, as in ConvNeXt, are traced again for each shape.
        backbone._run_through_graph(  # noqa: SLF001 - the public ways do not stop at layers
            [preprocess(pixels, preprocessing)], operation_fn=measuring
        )


def _imagenet(spec: BackboneSpec, alpha: float, image_size: int) -> Pretrained:
    backbone, file = from_keras(spec, alpha, image_size)
    if spec.repaired_variance:
        weights, backbone = backbone.get_weights(), build_backbone(spec.name, alpha, image_size)
        backbone.set_weights(weights)
        repair_variance(backbone)
    origin = f"Keras' ImageNet weights, {file.url}, sha256 {sha256_file(file.path)}"
    return Pretrained(backbone, "imagenet", False, origin)


def from_keras(
    spec: BackboneSpec, alpha: float, image_size: int, *, include_top: bool = False
) -> tuple[keras.Model, KerasFile]:
    """Return a network of keras.applications with its ImageNet weights, and their file.

    Raises
    ------
    HeadstartError
        If the file cannot be obtained, or does not hold them.
    """
    with fresh_names(), _own_get_file() as files:
        try:
            network = call_application(spec, alpha, image_size, "imagenet", include_top=include_top)
        except HeadstartError:
            raise
        except Exception as error:
            if not files:
                raise
            raise HeadstartError(
                f"{files[-1].path} does not hold the weights of {spec.name}: {error} It is "
                "damaged, or another file of that name. Delete it, and it is downloaded again from "
                f"{files[-1].url}."
            ) from error
    return network, files[-1]


@contextmanager
def _own_get_file() -> Iterator[list[KerasFile]]:
    """Let Keras name the file, and download it ourselves; yield the list of requested files."""
    from keras.src.utils import file_utils

    files: list[KerasFile] = []

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


def repair_variance(network: keras.Model) -> None:
    """Square the deviations that Keras' file holds in place of the input's variances.

    EfficientNet's files hold deviations, and keras.applications adds a layer that divides by their
    roots, but only for ``weights="imagenet"``. With the weights repaired, the network is the same
    wherever they come from. Correct weights are left as they are.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            held = np.asarray(layer.adapt_variance, dtype=np.float64)
            if np.allclose(held, DEVIATION, rtol=1e-3):
                layer.adapt_variance.assign((held**2).astype(np.float32))
            layer.finalize_state()

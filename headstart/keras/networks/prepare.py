"""The pretrained backbone as one converted file, compared with Keras on real images.

Obtains the weights, folds BatchNorm, cuts at the chosen layer, bakes preprocessing and pooling in,
converts to LiteRT, runs the result and accepts it only if it agrees with Keras.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_folder, sha256_bytes, sha256_file, write_bytes
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import (
    MODULE,
    NETWORK,
    WEIGHTS,
    BackboneRecord,
    Parity,
    write_backbone,
)
from headstart.backbones.registry import HUB_MODULE, Backbone, find, is_path
from headstart.stage.run_statistics import RunStatistics

if TYPE_CHECKING:
    from headstart.keras.networks.pretrained import Pretrained


def write(
    target: Path, params: BackboneParams, engine: str, seed: int, run_statistics: RunStatistics
) -> None:
    """Write the backbone folder.

    Parameters
    ----------
    target : Path
        Replaced as a whole.
    params : BackboneParams
    engine : {"litert", "keras"}
        What extracts the features; only LiteRT needs the conversion.
    seed : int
        Draws random weights.
    run_statistics : RunStatistics
        Notes seconds and the difference from Keras.

    Raises
    ------
    HeadstartError
        If the weights cannot be obtained, or the backbone cannot be converted.
    """
    known = check(params)  # before TensorFlow, which takes seconds
    from headstart.keras.networks.backbone import feature_model

    start = time.perf_counter()
    with atomic_folder(target) as folder:
        pretrained, weights_sha256 = obtain(params, seed, folder)
        image_size = int(pretrained.base.input_shape[1])
        model = feature_model(pretrained.base, params.cut, params.pooling, known.preprocessing)
        run_statistics.note(building_seconds=round(time.perf_counter() - start, 3))
        parity, digest = None, None
        if engine == "litert":
            network, parity = convert(model, image_size, params.pooling, run_statistics)
            write_bytes(folder / NETWORK, network)
            digest = sha256_bytes(network)
        record = BackboneRecord(
            name=params.name,
            alpha=params.alpha,
            weights=pretrained.weights,
            random_weights=pretrained.random_weights,
            weights_sha256=weights_sha256,
            origin=pretrained.origin,
            image_size=image_size,
            cut=params.cut,
            pooling=params.pooling,
            preprocessing=known.preprocessing,
            feature_shape=tuple(model.output_shape[1:]),
            parameters=pretrained.base.count_params(),
            engine=engine,
            tflite_sha256=digest,
            parity=parity,
        )
        write_backbone(folder, record)


def obtain(params: BackboneParams, seed: int, folder: Path) -> tuple[Pretrained, str]:
    """The backbone, with its weights or its module in the folder, and their sha256.

    Raises
    ------
    HeadstartError
        If they cannot be had, or do not fit the other parameters.
    """
    from headstart.keras.networks import pretrained

    if params.hub is not None:
        return pretrained.from_hub(
            params.hub, params.weights_sha256, params.image_size, params.pooling, folder / MODULE
        )
    size = required_size(params)
    found = pretrained.obtain(params.name, params.alpha, size, params.weights, seed)
    check(params)  # Read by path: what was loaded must be what was checked.
    found.base.save_weights(str(folder / WEIGHTS))
    return found, sha256_file(folder / WEIGHTS)


def check(params: BackboneParams) -> Backbone:
    """What the table holds of the name, once the file of weights is the one that was named.

    The section itself refuses a name, alpha, size or path that cannot be.

    Raises
    ------
    HeadstartError
        If the file has another hash, or is gone.
    """
    if is_path(params.weights):
        try:
            found = sha256_file(Path(params.weights))
        except OSError as error:
            raise HeadstartError(
                f"The file {params.weights} (`backbone.weights`) cannot be read: {error.strerror}. "
                "Nothing was written."
            ) from error
        if found != params.weights_sha256:
            raise HeadstartError(
                f"The file {params.weights} is not the one that `backbone.weights_sha256` names: "
                f"expected {params.weights_sha256}, got {found}. Nothing was written. If it was "
                f"changed on purpose, set `backbone.weights_sha256` to {found}; if not, get the "
                "right file again."
            )
    if params.hub is not None:
        return HUB_MODULE
    return find(params.name, params.alpha, required_size(params))


def required_size(params: BackboneParams) -> int:
    """The size of the images, which only a module may leave open."""
    if params.image_size is None:
        raise ValueError("only a module has no size of its own; the section refuses any other")
    return params.image_size


def convert(
    model: Any, image_size: int, pooling: str, run_statistics: RunStatistics
) -> tuple[bytes, Parity]:
    """Convert the model from pixels to features, and accept the result only if it agrees.

    Raises
    ------
    HeadstartError
        If it does not convert, or differs from Keras.
    """
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.networks.conversion import accepted, compare, images

    start = time.perf_counter()
    try:
        network = to_tflite(model)
        function = LiteRTFunction(network)
    except Exception as error:
        raise HeadstartError(
            f"This base does not convert to LiteRT: {error}\n{_USE_KERAS}"
        ) from error
    converted = time.perf_counter()
    batch = images(image_size)
    difference = compare(model, function, batch)
    compared = time.perf_counter()
    function(batch)
    run_statistics.note(
        conversion_seconds=round(converted - start, 3),
        comparison_seconds=round(compared - converted, 3),
        parity_difference_in_std=difference if math.isfinite(difference) else None,
        litert_ms_per_image=round(1000 * (time.perf_counter() - compared) / len(batch), 3),
    )
    if not difference <= accepted(pooling):
        raise HeadstartError(
            f"The converted backbone is not the Keras model: on {len(batch)} real images a feature "
            f"differs by {difference:.3g} of its standard deviation; {accepted(pooling):g} is "
            f"accepted. It was thrown away. {_USE_KERAS}"
        )
    return network, Parity(len(batch), _at_most(difference))


_USE_KERAS = "Set `extract_features.engine` to `keras`: slower, and it runs every backbone."


def _at_most(difference: float) -> float:
    """The next power of ten, at least 1e-6.

    Keras' last bits depend on the CPU, and the record must not. The run statistics has the exact
    figure.
    """
    power = -6
    while difference > float(f"1e{power}"):
        power += 1
    return float(f"1e{power}")

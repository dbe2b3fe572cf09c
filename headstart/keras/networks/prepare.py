"""The pretrained backbone as a folder: its weights, its converted network, and their record.

The backbone gets its weights, is cut, and is put between preprocessing and pooling. The result is
converted to LiteRT and accepted only if it agrees with Keras on real images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.disk import disk_fault
from headstart._utils.errors import HeadstartError
from headstart._utils.faults import reached
from headstart._utils.files import atomic_folder, sha256_bytes, sha256_file, write_bytes
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import (
    FILE_FOLDER,
    MODULE,
    NETWORK,
    WEIGHTS,
    BackboneRecord,
    Parity,
    write_backbone,
)
from headstart.backbones.registry import FILE, BackboneSpec, fit_name, is_path
from headstart.stage.run_statistics import RunStatistics

if TYPE_CHECKING:
    from headstart.keras.networks.pretrained import Pretrained

_USE_KERAS = "Set `extract_features.engine` to `keras`: slower, but it runs every backbone."


def prepare_backbone(
    target: Path, params: BackboneParams, engine: str, seed: int, run_statistics: RunStatistics
) -> BackboneRecord:
    """Write the backbone folder.

    Parameters
    ----------
    target : Path
        Replaced completely.
    params : BackboneParams
    engine : {"litert", "keras"}
        The engine that extracts the features; only LiteRT needs the conversion.
    seed : int
        Draws random weights.
    run_statistics : RunStatistics
        Receives seconds and the difference from Keras.

    Returns
    -------
    BackboneRecord
        As it was written.

    Raises
    ------
    HeadstartError
        If the weights cannot be obtained, or the backbone cannot be converted.
    """
    spec = check_weights_file(params)  # before TensorFlow, which takes seconds
    from headstart.keras.networks.backbone import feature_model

    start = time.perf_counter()
    with atomic_folder(target) as folder:
        pretrained, weights_sha256 = _obtain(params, seed, folder)
        backbone = pretrained.backbone
        model = feature_model(backbone, params.cut, params.pooling, spec.preprocessing)
        run_statistics.note(building_seconds=round(time.perf_counter() - start, 3))
        parity, digest = None, None
        if engine == "litert":
            in_float = partial(
                feature_model, backbone, params.cut, params.pooling, spec.preprocessing, "float32"
            )
            network, parity = _convert(model, in_float, params.pooling, run_statistics)
            write_bytes(folder / NETWORK, network)
            digest = sha256_bytes(network)
        record = BackboneRecord(
            name=params.name,
            alpha=params.alpha,
            weights=pretrained.weights,
            random_weights=pretrained.random_weights,
            weights_sha256=weights_sha256,
            origin=pretrained.origin,
            license=pretrained.license,
            image_size=int(backbone.input_shape[1]),
            cut=params.cut,
            pooling=params.pooling,
            gray16_bits=params.gray16_bits,
            preprocessing=spec.preprocessing,
            feature_shape=tuple(model.output_shape[1:]),
            parameters=backbone.count_params(),
            engine=engine,
            tflite_sha256=digest,
            parity=parity,
        )
        write_backbone(folder, record)
    return record


def check_weights_file(params: BackboneParams) -> BackboneSpec:
    """Return the row of the backbone, after comparing a file of weights with its SHA-256.

    The section itself refuses an impossible name, alpha, size or path.

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
    return fit_name(params.name)


def _obtain(params: BackboneParams, seed: int, folder: Path) -> tuple[Pretrained, str]:
    """Write the weights, module or file into the folder; return the backbone and their SHA-256."""
    from headstart.keras.networks import pretrained

    if params.hub is not None:
        return pretrained.from_hub(
            params.hub, params.weights_sha256, params.image_size, params.pooling, folder / MODULE
        )
    if params.name == FILE:
        path = Path(params.weights)
        return pretrained.from_file(
            path, params.weights_sha256, params.pooling, folder / FILE_FOLDER
        )
    size = params.image_size or 0  # The section lets only a module leave it out.
    found = pretrained.obtain(params.name, params.alpha, size, params.weights, seed)
    check_weights_file(params)  # Read by path: what was loaded must be what was checked.
    reached("member", folder / WEIGHTS)
    found.backbone.save_weights(str(folder / WEIGHTS))
    return found, sha256_file(folder / WEIGHTS)


def _convert(
    model: Any, in_float: Callable[[], Any], pooling: str, run_statistics: RunStatistics
) -> tuple[bytes, Parity]:
    """Convert the model from pixels to features, and accept the result only if it agrees."""
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks import conversion

    start = time.perf_counter()
    try:
        network = conversion.to_tflite(model)
        function = LiteRTFunction(network)
    except Exception as error:
        if disk_fault(error) is not None:  # of temporary files; it says nothing about the model
            raise
        raise HeadstartError(
            f"This backbone does not convert to LiteRT: {error}\n{_USE_KERAS}"
        ) from error
    converted = time.perf_counter()
    batch = conversion.images(model.input_shape[1])
    features = conversion.run_keras(model, batch)
    difference = conversion.difference_in_std(features, function(batch))
    compared = time.perf_counter()
    function(batch)
    run_statistics.note(
        conversion_seconds=round(converted - start, 3),
        comparison_seconds=round(compared - converted, 3),
        parity_difference_in_std=difference if math.isfinite(difference) else None,
        litert_ms_per_image=round(1000 * (time.perf_counter() - compared) / len(batch), 3),
    )
    accepted = conversion.tolerance(pooling)
    if accepted < difference < math.inf:
        own = conversion.rounding(in_float(), batch, features)
        if conversion.ROUNDINGS * own > accepted:
            accepted = min(conversion.ROUNDINGS * own, conversion.LARGEST)
            print(
                "Note: this network enlarges rounding errors. Keras' features change by "
                f"{own:.2g} of a standard deviation with the last bit of each pixel, and the "
                f"converted network differs from Keras by {difference:.2g}.",
                flush=True,
            )
    if not difference <= accepted:
        raise HeadstartError(
            f"The converted backbone is not the Keras model: on {len(batch)} real images a feature "
            f"differs by {difference:.3g} of its standard deviation; {accepted:g} is accepted. The "
            f"conversion was discarded. {_USE_KERAS}"
        )
    return network, Parity(images=len(batch), max_difference_in_std=_next_power_of_ten(difference))


def _next_power_of_ten(difference: float) -> float:
    """Return the next power of ten, at least 1e-6.

    Keras' last bits depend on the CPU, and the record must not; the run statistics have the exact
    figure.
    """
    power = -6
    while difference > float(f"1e{power}"):
        power += 1
    return float(f"1e{power}")

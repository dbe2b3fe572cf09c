"""The pretrained backbone as one converted file, compared with Keras on real images.

Obtains the weights, folds BatchNorm, cuts at the chosen layer, bakes preprocessing and pooling in,
converts to LiteRT, runs the result and accepts it only if it agrees with Keras.
"""

from __future__ import annotations

import time

from headstart._utils.files import atomic_folder, sha256_bytes, write_bytes
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import (
    NETWORK,
    BackboneRecord,
    write_backbone,
)
from headstart.features.parameters import ExtractFeaturesParams
from headstart.keras.networks.prepare import check, convert, obtain
from headstart.stage import command_line
from headstart.stage.run_statistics import RunStatistics


def main(
    runtime: command_line.Runtime,  # noqa: ARG001 - checked before this is called
    backbone_folder: command_line.Out,
    seed: int,
    backbone: BackboneParams,
    extract_features: ExtractFeaturesParams,
    run_statistics: RunStatistics,
) -> None:
    """Write the backbone folder."""
    known = check(backbone)  # before TensorFlow, which takes seconds
    from headstart.keras.networks.backbone import feature_model

    start = time.perf_counter()
    with atomic_folder(backbone_folder) as folder:
        pretrained, weights_sha256 = obtain(backbone, seed, folder)
        image_size = int(pretrained.base.input_shape[1])
        model = feature_model(pretrained.base, backbone.cut, backbone.pooling, known.preprocessing)
        run_statistics.note(building_seconds=round(time.perf_counter() - start, 3))
        parity, digest = None, None
        if extract_features.engine == "litert":
            network, parity = convert(model, image_size, backbone.pooling, run_statistics)
            write_bytes(folder / NETWORK, network)
            digest = sha256_bytes(network)
        record = BackboneRecord(
            name=backbone.name,
            alpha=backbone.alpha,
            weights=pretrained.weights,
            random_weights=pretrained.random_weights,
            weights_sha256=weights_sha256,
            origin=pretrained.origin,
            image_size=image_size,
            cut=backbone.cut,
            pooling=backbone.pooling,
            preprocessing=known.preprocessing,
            feature_shape=tuple(model.output_shape[1:]),
            parameters=pretrained.base.count_params(),
            engine=extract_features.engine,
            tflite_sha256=digest,
            parity=parity,
        )
        write_backbone(folder, record)


if __name__ == "__main__":
    command_line.run(main)

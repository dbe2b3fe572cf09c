"""Convert the pretrained backbone into one file and compare it with Keras on real images."""

from __future__ import annotations

from headstart.backbones.parameters import BackboneParams
from headstart.features.parameters import ExtractFeaturesParams
from headstart.keras.networks.prepare import prepare_backbone
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
    prepare_backbone(backbone_folder, backbone, extract_features.engine, seed, run_statistics)


if __name__ == "__main__":
    command_line.run(main)

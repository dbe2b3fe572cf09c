"""Run the frozen backbone over every image that is not cached, and write the features as files.

The feature store is not an output of the pipeline ($HEADSTART_CACHE, by default in the user's cache
folder). A killed run therefore resumes, and an image that any branch or experiment has seen needs
no forward pass.
"""

from __future__ import annotations

from headstart.backbones.record import read_backbone
from headstart.cluster.connection import cluster as open_cluster
from headstart.datasets.manifests import read_split
from headstart.datasets.shards import ShardReader
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.split_features import check_inputs, extract_splits, features_size
from headstart.keras.networks.engine import engine
from headstart.stage import command_line
from headstart.stage.command_line import Cluster, In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


def main(
    images: LazyIn,
    manifest: In,
    backbone_folder: In,
    runtime: Runtime,
    features: Out,
    extract_features: ExtractFeaturesParams,
    seed: int,
    run_statistics: RunStatistics,
    cluster: Cluster = None,
) -> None:
    """Extract what is missing, report the passes, and write the features."""
    rows, backbone = read_split(manifest), read_backbone(backbone_folder)
    check_inputs(rows, backbone, extract_features.engine)
    require_space({features: features_size(rows, backbone, extract_features)})
    network = engine(backbone_folder, backbone)
    with ShardReader(images) as reader, open_cluster(cluster, images, runtime) as workers:
        passes = extract_splits(
            rows, backbone, network, reader, extract_features, seed, features, workers
        )
    run_statistics.note(**passes)


if __name__ == "__main__":
    command_line.run(main)

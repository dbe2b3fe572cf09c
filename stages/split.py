"""Split the images into train, validation and test by a hash of their content.

Byte-identical images, images of one group, and near duplicates share a split. Adding, renaming or
moving an image never moves another image to another split, as long as test and validation have
between half and one and a half times their share in its class, by the hash. Beyond that, which
happens in small classes, the nearest images are moved up to the limit, and named in the metrics. A
near duplicate that is added may move the images that it joins.
"""

from __future__ import annotations

from headstart._utils.files import write_json
from headstart.datasets.duplicates import read_groups
from headstart.datasets.manifests import read_images, write_split
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split as split_images
from headstart.stage import command_line
from headstart.stage.command_line import In, Out
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


def main(
    images: In,
    duplicate_groups: In,
    manifest: Out,
    metrics: Out,
    split: SplitParams,
    seed: int,
    run_statistics: RunStatistics,
) -> None:
    """Read the image manifest and the groups of duplicates; write the split and its counts."""
    require_space({manifest: 2 * images.stat().st_size})
    division = split_images(read_images(images), split, seed, read_groups(duplicate_groups))
    write_split(manifest, division.manifest)
    write_json(metrics, division.metrics())
    run_statistics.note(images=len(division.manifest))
    print(division.describe())


if __name__ == "__main__":
    command_line.run(main)

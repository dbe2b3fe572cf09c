"""Split the images into train, validation and test by a hash of their content.

Byte-identical images, and images of one group, share a split. Adding, renaming or moving an image
never moves another image to another split, as long as test and validation have between half and one
and a half times their share in its class, by the hash. Beyond that, which happens in small classes,
the nearest images are moved up to the limit, and named in the metrics.
"""

from __future__ import annotations

from headstart._utils.files import write_json
from headstart.datasets.manifests import read_images, write_split
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split as split_images
from headstart.stage import command_line
from headstart.stage.command_line import In, Out
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


def main(
    images: In,
    manifest: Out,
    metrics: Out,
    split: SplitParams,
    seed: int,
    run_statistics: RunStatistics,
) -> None:
    """Read the image manifest, split it, write the split manifest and its counts."""
    require_space({manifest: 2 * images.stat().st_size})
    division = split_images(read_images(images), split, seed)
    write_split(manifest, division.manifest)
    write_json(metrics, division.metrics())
    run_statistics.note(images=len(division.manifest))
    print(division.describe())


if __name__ == "__main__":
    command_line.run(main)

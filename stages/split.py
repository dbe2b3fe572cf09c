"""Split the images into train, validation and test by a hash of their content.

Byte-identical images, images of one group, and near duplicates share a split. Adding, renaming or
moving an image never moves another image to another split, as long as test and validation have
between half and one and a half times their share in its class, by the hash. Beyond that, which
happens in small classes, the nearest images are moved up to the limit, and named in the metrics. A
near duplicate that is added may move the images that it joins.

Before that, the corrections of people are applied: labels, removed images, and images of one
object, which share a split.
"""

from __future__ import annotations

from headstart._utils.files import write_json
from headstart.datasets.corrected import correct, write_changed
from headstart.datasets.corrections import read_corrections
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
    corrections: In,
    manifest: Out,
    changed: Out,
    metrics: Out,
    split: SplitParams,
    seed: int,
    run_statistics: RunStatistics,
) -> None:
    """Read the image manifest, groups and corrections; write the split and its counts."""
    require_space({manifest: 2 * images.stat().st_size})
    corrected = correct(read_images(images), read_corrections(corrections))
    division = split_images(corrected.images, split, seed, read_groups(duplicate_groups))
    write_split(manifest, division.manifest)
    write_changed(changed, corrected.changed)
    write_json(metrics, {**division.metrics(), **corrected.metrics(division.manifest)})
    run_statistics.note(images=len(division.manifest))
    print("\n".join([division.describe(), *corrected.notes()]))


if __name__ == "__main__":
    command_line.run(main)

"""A seeded subset of train and validation, copied into folders by class.

The images of a class come in an order of their own, by a hash of seed and content; a sample of
N is the first N. So samples are nested (100 are among 500), and adding an image changes one place
at most. The test split stays whole, so that results with different samples compare.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder
from headstart.datasets.manifests import read_split, write_split
from headstart.datasets.parameters import SampleParams
from headstart.datasets.samples import copy, draw, files, report
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out
from headstart.stage.run_statistics import RunStatistics


def main(
    split_manifest: In,
    images: LazyIn,
    manifest: Out,
    sample_folder: Out,
    run_statistics: RunStatistics,
    sample: SampleParams,
    seed: int,
) -> None:
    """Read the split manifest, choose, copy, write the sample's manifest."""
    whole = read_split(split_manifest)
    sampled = draw(whole, sample, seed)
    chosen = files(sampled, sample)
    with atomic_folder(sample_folder) as folder:
        copy(chosen, images, folder)
    write_split(manifest, sampled)
    run_statistics.note(images=len(sampled), copied=len(chosen))
    print(report(whole, sampled, sample, str(sample_folder)))


if __name__ == "__main__":
    command_line.run(main)

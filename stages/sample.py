"""Draw a seeded subset of train and validation, and copy it into folders by class.

A hash of seed and content orders the images of a class, and a sample of N is the first N. Samples
are therefore nested (the 100 are among the 500), and adding an image changes at most one of the
sample. The test split stays complete, so that the scores of different samples can be compared.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder
from headstart.datasets.manifests import read_split, write_split
from headstart.datasets.parameters import SampleParams
from headstart.datasets.samples import copy, draw, files, report
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


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
    require_space(
        {sample_folder: int(chosen["bytes"].sum()), manifest: split_manifest.stat().st_size}
    )
    with atomic_folder(sample_folder) as folder:
        copy(chosen, images, folder)
    write_split(manifest, sampled)
    run_statistics.note(images=len(sampled), copied=len(chosen))
    print(report(whole, sampled, sample, str(sample_folder)))


if __name__ == "__main__":
    command_line.run(main)

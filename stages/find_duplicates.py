"""Find images that show the same photograph: re-encoded, resized, cropped, turned, mirrored, gray.

No image goes through a network. `split` keeps the images of a group together, and the pairs are
listed in a table.
"""

from __future__ import annotations

import time

from headstart._utils.files import write_json
from headstart.audit.findings import find_duplicates as find
from headstart.audit.parameters import FindDuplicatesParams
from headstart.datasets.duplicates import write_groups, write_pairs
from headstart.datasets.manifests import read_images
from headstart.datasets.shards import ShardReader
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


def main(
    images: LazyIn,
    manifest: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    pairs: Out,
    groups: Out,
    metrics: Out,
    find_duplicates: FindDuplicatesParams,
    run_statistics: RunStatistics,
) -> None:
    """Compare the images; write the pairs, the groups and their counts."""
    start = time.perf_counter()
    require_space({pairs: manifest.stat().st_size})
    with ShardReader(images) as reader:
        found = find(read_images(manifest), reader, find_duplicates)
    write_pairs(pairs, found.pairs)
    write_groups(groups, found.groups)
    write_json(metrics, found.metrics())
    run_statistics.note(images=found.compared, pairs=len(found.pairs))
    print(f"{found.describe()}\n({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    command_line.run(main)

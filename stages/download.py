"""From a source to checked images in shards and an image manifest.

Every file is decoded once. What is no usable image is rejected with a reason and counted:
files = kept + rejected, always.
"""

from __future__ import annotations

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_folder, write_json
from headstart.datasets.manifests import (
    REJECTED,
    frame,
    write_images,
    write_rejected,
)
from headstart.datasets.shards import ShardWriter
from headstart.images.decode import Limits
from headstart.images.thumbnail_folder import Album
from headstart.sources.download import (
    check_classes,
    check_room,
    conflicts,
    measures,
    open_source,
    report,
    table,
    warn,
)
from headstart.sources.ingest import plan, take_in
from headstart.sources.parameters import DownloadParams
from headstart.stage import command_line
from headstart.stage.command_line import In, Out, Runtime
from headstart.stage.run_statistics import RunStatistics


def main(
    source: In,
    runtime: Runtime,  # noqa: ARG001 - the command line has compared it with what is installed
    images: Out,
    manifest: Out,
    rejected: Out,
    rejected_images: Out,
    metrics: Out,
    run_statistics: RunStatistics,
    download: DownloadParams,
) -> None:
    """Read the source; write shards, manifest, what was rejected, and the counts."""
    limits = Limits(
        tuple(download.formats),
        download.min_side,
        download.max_pixels,
        download.max_image_bytes,
    )
    opened = open_source(download, source)
    planned = plan(opened, download.root, limits, download.splits)
    print(planned.layout.describe(), flush=True)
    with (
        atomic_folder(images) as folder,
        atomic_folder(rejected_images) as glimpses,
        ShardWriter(folder) as writer,
    ):
        check_room(folder, planned.bytes)
        album = Album(glimpses)
        taken, aside = take_in(opened, planned, limits, writer, album)
        album.close()
        if len(taken) + len(aside) != len(opened.entries):
            raise HeadstartError(
                f"Of {len(opened.entries):,} files, {len(taken):,} were kept and {len(aside):,} "
                "rejected, which does not add up. Nothing was written. Please report this."
            )
        check_classes(taken, aside, opened.origin)
        places = writer.finish()
    counts = measures(taken, aside)
    write_images(manifest, table(taken, places))
    rows = [{"path": a.path, "reason": a.reason, "detail": a.detail} for a in aside]
    write_rejected(rejected, frame(rows, REJECTED))
    write_json(metrics, counts)
    run_statistics.note(files=counts["files"], kept=counts["kept"])
    print(report(counts, taken, aside), flush=True)
    warn(conflicts(taken))


if __name__ == "__main__":
    command_line.run(main)

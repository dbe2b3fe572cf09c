"""Ingest the images of a source: checked, stored in shards, and listed in an image manifest.

Every file is decoded once. Unusable files are rejected, counted, and listed with a reason:
files = kept + rejected, always.
"""

from __future__ import annotations

from headstart._utils.errors import SourceError
from headstart._utils.files import atomic_folder, write_json
from headstart.datasets.manifests import write_images, write_rejected
from headstart.sources.ingest import ingest
from headstart.sources.ingested import UnusableError
from headstart.sources.parameters import DownloadParams, open_source
from headstart.stage import command_line
from headstart.stage.command_line import DownloadLocation, Out, Runtime
from headstart.stage.run_statistics import RunStatistics


def main(
    source: DownloadLocation,
    runtime: Runtime,  # noqa: ARG001 - the command line has compared it with what is installed
    images: Out,
    manifest: Out,
    rejected: Out,
    rejected_images: Out,
    metrics: Out,
    run_statistics: RunStatistics,
    download: DownloadParams,
) -> None:
    """Read the source; write shards, manifest, rejected files, thumbnails and counts."""
    try:
        with atomic_folder(images) as shards, atomic_folder(rejected_images) as thumbnails:
            ingested = ingest(open_source(download, source), download, shards, thumbnails)
    except UnusableError as error:
        write_rejected(rejected, error.rejected)
        raise SourceError(
            f"{error}\nThe rejected files are listed in {rejected}; nothing else was written."
        ) from error
    write_images(manifest, ingested.images)
    write_rejected(rejected, ingested.rejected)
    counts = ingested.metrics
    write_json(metrics, counts)
    run_statistics.note(files=counts["files"], kept=counts["kept"])
    print(ingested.describe(), flush=True)
    ingested.warn()


if __name__ == "__main__":
    command_line.run(main)

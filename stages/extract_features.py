"""The frozen backbone over every image that the feature store lacks, then the features as files.

With `views: K` it also passes K seeded views of every training image, once each: a head is then
trained on augmented images without the backbone.

The store lies outside of the pipeline's outputs ($HEADSTART_CACHE, else the user's cache folder),
so that a run that was killed goes on where it stopped, and images that any branch or experiment
has seen cost nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from headstart._utils.errors import HeadstartError
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.features.extract import write
from headstart.features.extraction import extract, fingerprint_record
from headstart.features.folder import require_rows
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.store import FeatureStore
from headstart.features.views import RecordedViews
from headstart.keras.networks.engine import engine
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics


def main(
    images: LazyIn,
    manifest: In,
    backbone_folder: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    features: Out,
    extract_features: ExtractFeaturesParams,
    seed: int,
    run_statistics: RunStatistics,
) -> None:
    """Extract, assemble, report."""
    rows = read_split(manifest)
    for split in SPLITS:
        require_rows(split, int((rows["split"] == split).sum()))
    backbone = read_backbone(backbone_folder)
    if backbone.engine != extract_features.engine:
        raise HeadstartError(
            f"{backbone_folder} was made for the engine {backbone.engine}, and "
            f"extract_features.engine is {extract_features.engine}. Run the stage `backbone` again."
        )
    how, device = engine(backbone_folder, backbone)
    record = fingerprint_record(backbone, backbone.engine, device)
    views = RecordedViews.of(extract_features, seed)
    with ExitStack() as stack:
        reader = stack.enter_context(ShardReader(images))
        run = partial(extract, reader=reader, size=backbone.image_size, **how)
        stores = [stack.enter_context(FeatureStore.open(record, backbone.feature_shape))]
        passes = [run(rows=rows, store=stores[0], desc=f"Features by {backbone.name}")]
        if views.count:
            of_views = FeatureStore.open(views.record(record), backbone.feature_shape)
            stores.append(stack.enter_context(of_views))
            train = rows[rows["split"] == "train"]
            desc = f"Views by {backbone.name}"
            passes.append(run(rows=train, store=of_views, desc=desc, views=views))
        print(*passes, sep="\n", flush=True)
        ever = sum(store.passes for store in stores)
        seconds = sum(store.passes * (store.seconds_per_pass or 0.0) for store in stores)
        run_statistics.note(
            images=passes[0].images,
            views=views.count,
            passes_done=sum(each.done for each in passes),
            passes_cached=sum(each.cached for each in passes),
            passes_total_ever=ever,
            extraction_seconds=round(sum(each.seconds for each in passes), 3),
            seconds_per_pass=seconds / ever if ever else None,
            store=str(stores[0].path),
        )
        write(features, rows, backbone, extract_features.dtype, stores, views)


if __name__ == "__main__":
    command_line.run(main)

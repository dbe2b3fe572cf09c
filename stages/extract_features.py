"""The frozen base over every picture that the feature store lacks, then the features as files.

With `views: K` it also passes K seeded views of every training picture, once each: a head is then
trained on augmented pictures without the base.

The store lies outside of the pipeline's outputs ($HEADSTART_CACHE, else the user's cache folder),
so that a run that was killed goes on where it stopped, and pictures that any branch or experiment
has seen cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from stages.artifacts.backbone_record import NETWORK, BackboneRecord, read_backbone
from stages.artifacts.feature_store import FeatureStore, Floats, view_key
from stages.artifacts.features import FeaturesWriter, require_rows, row_table
from stages.artifacts.manifest import SPLITS, class_names, read_split
from stages.artifacts.shards import ShardReader
from stages.core import cli
from stages.core.cli import In, Out, Runtime
from stages.core.errors import HeadstartError
from stages.core.journal import Journal
from stages.core.machine import KERAS_BATCH, cores
from stages.core.params.extract_features import ExtractFeaturesParams
from stages.engine.extraction import extract, fingerprint_record, interpreters
from stages.engine.passing import Function
from stages.engine.recorded_views import RecordedViews


def main(
    images: In,
    manifest: In,
    backbone_folder: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    features: Out,
    extract_features: ExtractFeaturesParams,
    seed: int,
    journal: Journal,
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
    how, device = _engine(backbone_folder, backbone)
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
        journal.note(
            pictures=passes[0].pictures,
            views=views.count,
            passes_done=sum(each.done for each in passes),
            passes_avoided=sum(each.avoided for each in passes),
            passes_total_ever=ever,
            extraction_seconds=round(sum(each.seconds for each in passes), 3),
            seconds_per_pass=seconds / ever if ever else None,
            store=str(stores[0].path),
        )
        _write(features, rows, backbone, extract_features.dtype, stores, views)


def _write(
    folder: Path,
    rows: pd.DataFrame,
    backbone: BackboneRecord,
    dtype: str,
    stores: list[FeatureStore],
    views: RecordedViews,
) -> None:
    with FeaturesWriter(
        folder,
        fingerprint_record=stores[0].record,
        backbone=vars(backbone),
        random_weights=backbone.random_weights,
        classes=class_names(rows),
        dtype=dtype,
        feature_shape=backbone.feature_shape,
        views=views.count,
        views_record=stores[-1].record,
    ) as writer:
        for split in SPLITS:
            count = views.count if split == "train" else 0
            table = row_table(rows[rows["split"] == split], count)
            writer.split(split, table, _vectors(table, stores, views))


def _vectors(
    table: pd.DataFrame, stores: list[FeatureStore], views: RecordedViews
) -> Iterator[Floats]:
    """The features of each row: of a picture from the first store, of a view from the last."""
    for image_id, view in zip(table["image_id"], table["view"].tolist(), strict=True):
        number = views.alike(image_id, view) if view else 0
        yield stores[-1 if number else 0].get(view_key(image_id, number))


def _engine(folder: Path, backbone: BackboneRecord) -> tuple[dict[str, Any], str]:
    """How :func:`extract` is to run the base, and the device that it runs on."""
    make: Callable[[], Function]
    if backbone.engine == "keras":
        from stages.nets.keras_engine import KerasFunction, device

        # Pictures and views share the one graph that is made.
        make = cache(partial(KerasFunction, folder, backbone, KERAS_BATCH, cores()))
        return {"make_function": make, "batch": KERAS_BATCH, "functions": 1}, device()
    from stages.engine.litert import LiteRTFunction

    network = folder / NETWORK
    count, threads = interpreters(network.stat().st_size, cores())
    make = partial(LiteRTFunction, network, threads)
    return {"make_function": make, "functions": count}, "cpu"


if __name__ == "__main__":
    cli.run(main)

"""The frozen base over every picture that the feature store lacks, then the features as files.

The store lies outside of the pipeline's outputs ($HEADSTART_CACHE, else the user's cache folder),
so that a run that was killed goes on where it stopped, and pictures that any branch or experiment
has seen cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from stages.artifacts.backbone_record import NETWORK, BackboneRecord, read_backbone
from stages.artifacts.feature_store import FeatureStore
from stages.artifacts.features import FeaturesWriter, require_rows, row_table
from stages.artifacts.manifest import SPLITS, class_names, read_split
from stages.artifacts.shards import ShardReader
from stages.core import cli
from stages.core.cli import In, Out, Runtime
from stages.core.errors import HeadstartError
from stages.core.journal import Journal
from stages.core.machine import KERAS_BATCH, cores
from stages.core.params.extract_features import ExtractFeaturesParams
from stages.engine.extraction import (
    Function,
    extract,
    fingerprint_record,
    interpreters,
)


def main(
    images: In,
    manifest: In,
    backbone_folder: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    features: Out,
    extract_features: ExtractFeaturesParams,
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
    with FeatureStore.open(record, backbone.feature_shape) as store:
        with ShardReader(images) as reader:
            passes = extract(
                rows,
                reader,
                size=backbone.image_size,
                store=store,
                desc=f"Features by {backbone.name}",
                **how,
            )
        print(passes, flush=True)
        journal.note(
            pictures=passes.pictures,
            passes_done=passes.done,
            passes_avoided=passes.avoided,
            passes_total_ever=store.passes,
            extraction_seconds=round(passes.seconds, 3),
            seconds_per_pass=store.seconds_per_pass,
            store=str(store.path),
        )
        _write(features, rows, backbone, record, extract_features.dtype, store)


def _write(
    folder: Path,
    rows: pd.DataFrame,
    backbone: BackboneRecord,
    record: dict[str, Any],
    dtype: str,
    store: FeatureStore,
) -> None:
    with FeaturesWriter(
        folder,
        fingerprint_record=record,
        backbone=vars(backbone),
        random_weights=backbone.random_weights,
        classes=class_names(rows),
        dtype=dtype,
        feature_shape=backbone.feature_shape,
    ) as writer:
        for split in SPLITS:
            table = row_table(rows[rows["split"] == split])
            writer.split(split, table, store.rows(table["image_id"]))


def _engine(folder: Path, backbone: BackboneRecord) -> tuple[dict[str, Any], str]:
    """How :func:`extract` is to run the base, and the device that it runs on."""
    make: Callable[[], Function]
    if backbone.engine == "keras":
        from stages.nets.keras_engine import KerasFunction, device

        make = partial(KerasFunction, folder, backbone, KERAS_BATCH, cores())
        return {"make_function": make, "batch": KERAS_BATCH, "functions": 1}, device()
    from stages.engine.litert import LiteRTFunction

    network = folder / NETWORK
    count, threads = interpreters(network.stat().st_size, cores())
    make = partial(LiteRTFunction, network, threads)
    return {"make_function": make, "functions": count}, "cpu"


if __name__ == "__main__":
    cli.run(main)

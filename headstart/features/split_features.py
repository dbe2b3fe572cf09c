"""Features of a split manifest: extracted into the feature store, then written as files.

With `views: K` there are also K augmented views of every training image, which go through the
backbone once each: a head is then trained on augmented images without the backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart._utils.workers import calling
from headstart.backbones.record import BackboneRecord
from headstart.datasets.manifests import SPLITS, class_names
from headstart.features.cut_images import CutImages
from headstart.features.extraction import extract, open_store
from headstart.features.folder import require_rows, row_table, write_features
from headstart.features.forward_passes import Cluster, Computed, Engine, Reader, ShardImages
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.store import Floats, row_bytes, view_key
from headstart.features.views import RecordedViews
from headstart.stage.recorded_inputs import dvc_cache


def check_inputs(rows: pd.DataFrame, backbone: BackboneRecord, engine: str) -> None:
    """Refuse a split without images, or a backbone that was made for the other engine.

    Raises
    ------
    HeadstartError
    """
    for split in SPLITS:
        require_rows(split, int((rows["split"] == split).sum()))
    if backbone.engine != engine:
        raise HeadstartError(
            f"The backbone was made for the engine {backbone.engine}, and "
            f"extract_features.engine is {engine}. Run the stage `backbone` again."
        )


def features_size(
    rows: pd.DataFrame, backbone: BackboneRecord, params: ExtractFeaturesParams
) -> int:
    """Return the bytes of the features folder, row tables left out."""
    train = int((rows["split"] == "train").sum())
    count = len(rows) + train * params.views
    return count * row_bytes(backbone.feature_shape) // (2 if params.dtype == "float16" else 1)


def extract_splits(
    rows: pd.DataFrame, backbone: BackboneRecord, engine: Engine, reader: Reader,
    params: ExtractFeaturesParams, seed: int, target: Path, cluster: Cluster | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compute the features that the stores lack, print the passes, write the features folder.

    Parameters
    ----------
    rows : DataFrame
        A split manifest.
    backbone : BackboneRecord
    engine : Engine
        Runs the backbone.
    reader : Reader
        Where the images' bytes are read from.
    params : ExtractFeaturesParams
    seed : int
        The seed of params.yaml, which decides the views.
    target : Path
        The features folder.
    cluster : Cluster, optional
        Its workers run the backbone.

    Returns
    -------
    dict
        The passes of this run and of all runs, for the run statistics.

    Raises
    ------
    HeadstartError
        As :func:`headstart.features.extraction.extract`, or if a feature does not fit the dtype.
    """
    views, name = RecordedViews.of(params, seed), backbone.name
    with ExitStack() as stack:
        cut = CutImages(stack.enter_context(calling(engine.decoders)))
        plain = viewed = stack.enter_context(open_store(backbone, engine))
        images = ShardImages(rows, reader)
        desc = f"Features by {name}"
        passes = [extract(images, engine, plain, desc, decode=cut, cluster=cluster)]
        stores = [plain]
        if views.count:
            viewed = stack.enter_context(open_store(backbone, engine, views))
            train = ShardImages(rows[rows["split"] == "train"], reader)
            desc = f"Views by {name}"
            passes.append(
                extract(train, engine, viewed, desc, views=views, decode=cut, cluster=cluster)
            )
            stores.append(viewed)
        print(*passes, sep="\n", flush=True)
        if warning := cut.warning(rows, engine.gray16_bits):
            print(warning, file=sys.stderr, flush=True)

        def vectors(table: pd.DataFrame) -> Iterator[Floats]:
            for image_id, view in zip(
                table["image_id"].tolist(), table["view"].tolist(), strict=True
            ):
                number = views.alike(image_id, view) if view else 0
                yield (viewed if number else plain).get(view_key(image_id, number))

        tables = {
            split: row_table(rows[rows["split"] == split], views.count if split == "train" else 0)
            for split in SPLITS
        }
        write_features(
            target,
            plain.record,
            backbone.feature_shape,
            ((split, table, vectors) for split, table in tables.items()),
            views=views.count,
            views_record=viewed.record,
            cache=dvc_cache(),
            backbone=backbone.summary,
            classes=tuple(class_names(rows)),
            dtype=params.dtype,
        )
        ever = sum(store.passes for store in stores)
        seconds = sum(store.passes * (store.seconds_per_pass or 0.0) for store in stores)
        return {
            "images": passes[0].images,
            **({"images_above_white": len(cut.bits)} if cut.bits else {}),
            "views": views.count,
            "passes_done": sum(each.done for each in passes),
            **_computed([each.computed for each in passes if each.computed is not None]),
            "passes_cached": sum(each.cached for each in passes),
            "passes_total_ever": ever,
            "extraction_seconds": round(sum(each.seconds for each in passes), 3),
            "seconds_per_pass": seconds / ever if ever else None,
            "store": str(plain.path),
        }


def _computed(passes: Sequence[Computed]) -> dict[str, int]:
    """Return what a cluster computed for the accepted passes, if there was one."""
    if not passes:
        return {}
    return {
        "passes_computed": sum(each.passes for each in passes),
        "passes_unanswered": sum(each.unanswered for each in passes),
        "cluster_workers": max(each.workers for each in passes),
    }

"""Features of a split manifest: extracted into the feature store, then written as files.

With `views: K` there are also K augmented views of every training image, which go through the
backbone once each: a head is then trained on augmented images without the backbone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart.backbones.record import BackboneRecord
from headstart.datasets.manifests import SPLITS, class_names
from headstart.features.extraction import Passes, extract, open_store
from headstart.features.folder import FeaturesWriter, require_rows, row_table
from headstart.features.forward_passes import Engine, Reader, ShardImages
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.store import Floats, view_key
from headstart.features.views import RecordedViews


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


class SplitFeatures:
    """The cached features of a split manifest; use it in a ``with`` block.

    Parameters
    ----------
    rows : DataFrame
        A split manifest.
    backbone : BackboneRecord
    engine : Engine
        Runs the backbone.
    params : ExtractFeaturesParams
    seed : int
        The seed of params.yaml, which decides the views.
    """

    def __init__(
        self, rows: pd.DataFrame, backbone: BackboneRecord, engine: Engine,
        params: ExtractFeaturesParams, seed: int,
    ) -> None:  # fmt: skip
        self._rows, self._backbone, self._engine = rows, backbone, engine
        self._dtype, self._views = params.dtype, RecordedViews.of(params, seed)
        self._stack = ExitStack()
        self._plain = self._stack.enter_context(open_store(backbone, engine))
        self._viewed = self._plain
        if self._views.count:
            self._viewed = self._stack.enter_context(open_store(backbone, engine, self._views))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def extract(self, reader: Reader) -> list[Passes]:
        """Compute the features that the stores lack, of the images and then of the views.

        Raises
        ------
        HeadstartError
            As :func:`headstart.features.extraction.extract`.
        """
        name, engine, rows = self._backbone.name, self._engine, self._rows
        passes = [extract(ShardImages(rows, reader), engine, self._plain, f"Features by {name}")]
        if self._views.count:
            train = ShardImages(rows[rows["split"] == "train"], reader)
            views = self._views
            passes.append(extract(train, engine, self._viewed, f"Views by {name}", views=views))
        return passes

    def statistics(self, passes: list[Passes]) -> dict[str, Any]:
        """Return the passes of this run and of all runs, for the run statistics."""
        stores = [self._plain, self._viewed][: len(passes)]
        ever = sum(store.passes for store in stores)
        seconds = sum(store.passes * (store.seconds_per_pass or 0.0) for store in stores)
        return {
            "images": passes[0].images,
            "views": self._views.count,
            "passes_done": sum(each.done for each in passes),
            "passes_cached": sum(each.cached for each in passes),
            "passes_total_ever": ever,
            "extraction_seconds": round(sum(each.seconds for each in passes), 3),
            "seconds_per_pass": seconds / ever if ever else None,
            "store": str(self._plain.path),
        }

    def write(self, folder: Path) -> None:
        """Write the features folder from the stores, one row at a time.

        Raises
        ------
        HeadstartError
            If a feature does not fit the dtype.
        """
        with FeaturesWriter(
            folder,
            self._plain.record,
            backbone=self._backbone.summary,
            classes=tuple(class_names(self._rows)),
            dtype=self._dtype,
            views=self._views.count,
            views_record=self._viewed.record,
        ) as writer:
            for split in SPLITS:
                views = self._views.count if split == "train" else 0
                table = row_table(self._rows[self._rows["split"] == split], views)
                writer.split(split, table, self._backbone.feature_shape, self._vectors(table))

    def _vectors(self, table: pd.DataFrame) -> Iterator[Floats]:
        for image_id, view in zip(table["image_id"], table["view"].tolist(), strict=True):
            number = self._views.alike(image_id, view) if view else 0
            store = self._viewed if number else self._plain
            yield store.get(view_key(image_id, number))

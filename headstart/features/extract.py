"""The frozen backbone over every image that the feature store lacks, then the features as files.

With `views: K` it also passes K seeded views of every training image, once each: a head is then
trained on augmented images without the backbone.

The store lies outside of the pipeline's outputs ($HEADSTART_CACHE, else the user's cache folder),
so that a run that was killed goes on where it stopped, and images that any branch or experiment
has seen cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from headstart.backbones.record import BackboneRecord
from headstart.datasets.manifests import SPLITS, class_names
from headstart.features.folder import FeaturesWriter, row_table
from headstart.features.store import FeatureStore, Floats, view_key
from headstart.features.views import RecordedViews


def write(
    folder: Path,
    rows: pd.DataFrame,
    backbone: BackboneRecord,
    dtype: str,
    stores: list[FeatureStore],
    views: RecordedViews,
) -> None:
    """Write the features folder from the stores."""
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
    """The features of each row: of an image from the first store, of a view from the last."""
    for image_id, view in zip(table["image_id"], table["view"].tolist(), strict=True):
        number = views.alike(image_id, view) if view else 0
        yield stores[-1 if number else 0].get(view_key(image_id, number))

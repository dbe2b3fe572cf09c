"""Shards of small images, and the store that their features go to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headstart._utils.files import sha256_file
from headstart._utils.machine import architecture
from headstart.datasets.shards import ShardReader, ShardWriter
from headstart.features.cut_images import CutImages
from headstart.features.extraction import Passes, extract
from headstart.features.forward_passes import Cluster, ShardImages, litert_engine
from headstart.features.store import FeatureStore
from headstart.features.views import RecordedViews
from headstart.images.resize import spec
from tests.images.made import png
from tests.stages import sections

SIZE = 32
VERSIONS = {name: metadata.version(name) for name in ("headstart", "numpy", "ai-edge-litert")}


@dataclass(frozen=True)
class Images:
    """The folder of shards, and the manifest's rows."""

    folder: Path
    rows: pd.DataFrame


def images(folder: Path, count: int, side: int = 40) -> Images:
    """Write images of noise into shards."""
    folder.mkdir(parents=True)
    paths = {}
    with ShardWriter(folder) as writer:
        for number in range(count):
            content = png(side, side, seed=number)
            paths[writer.add(content, "png")] = f"class/{number}.png"
        places = writer.finish()
    return Images(
        folder,
        pd.DataFrame(
            {
                "image_id": list(places),
                "path": [paths[image_id] for image_id in places],
                "shard": [place.shard for place in places.values()],
                "offset": [place.offset for place in places.values()],
                "bytes": [place.length for place in places.values()],
            }
        ),
    )


def record(network: Path) -> dict[str, Any]:
    """What decides the features, as a store records it."""
    return {
        "network_sha256": sha256_file(network),
        "pixels": spec(None),
        "engine_versions": {"ai-edge-litert": metadata.version("ai-edge-litert")},
        "machine": architecture(),
    }


def views() -> RecordedViews:
    return RecordedViews(2, sections.augment(rotation=20.0, zoom=0.1), 7)


def extracted(
    network: Path, made: Images, folder: Path, cluster: Cluster | None = None,
    views: RecordedViews | None = None,
) -> tuple[Passes, str]:  # fmt: skip
    """Extract into a store in a folder; return the passes, and the SHA-256 of all features."""
    engine = litert_engine(network, SIZE, None)
    plain = record(network)
    shape = engine.make().output_shape  # type: ignore[attr-defined]
    with (
        ShardReader(made.folder) as reader,
        FeatureStore(plain if views is None else views.record(plain), shape, folder) as store,
    ):
        passes = extract(
            ShardImages(made.rows, reader), engine, store, "Test", views=views,
            decode=CutImages(), cluster=cluster,
        )  # fmt: skip
        keys = store.keys()
        assert store.passes == len(keys), "each feature is accepted once"
        digest = hashlib.sha256("".join(keys).encode() + store.array(keys).tobytes())
    assert np.isfinite(passes.seconds)
    return passes, digest.hexdigest()

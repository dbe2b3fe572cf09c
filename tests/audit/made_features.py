"""A features folder with its manifest, of classes that are clouds of points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.files import sha256_bytes
from headstart.backbones.record import BackboneSummary
from headstart.datasets.manifests import SPLIT, SPLITS, frame, write_split
from headstart.features.folder import Features, read_features, row_table, write_features

BACKBONE = BackboneSummary(
    name="mobilenet_v2", alpha=0.35, weights="random", image_size=64, cut=None, pooling="avg",
    random_weights=True,
)  # fmt: skip
CLASSES = ("=ant", "bee", "cat")


@dataclass
class Clouds:
    """Points about the corners of a simplex, each with its class and split."""

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    splits: list[str]

    def manifest(self) -> pd.DataFrame:
        """One row per image, sorted by path."""
        rows = [
            {
                "image_id": sha256_bytes(point.tobytes()), "path": f"{number:05}.png",
                "label": CLASSES[label], "predefined_split": "", "width": 32, "height": 32,
                "format": "png", "bytes": 9, "group": "", "shard": 0, "offset": 0, "split": split,
            }
            for number, (point, label, split) in enumerate(
                zip(self.points, self.labels, self.splits, strict=True)
            )
        ]  # fmt: skip
        return frame(rows, SPLIT)

    def write(self, folder: Path, views: int = 0) -> tuple[Features, pd.DataFrame]:
        """Write features and manifest; views of an image are other points."""
        images = self.manifest()
        write_split(folder / "sample.csv", images)

        by_id = dict(zip(images["image_id"], self.points, strict=True))

        def vectors(part: pd.DataFrame) -> Any:
            for image_id, view in zip(part["image_id"], part["view"].tolist(), strict=True):
                yield by_id[image_id] + np.float32(100 * view)

        tables = {
            split: row_table(images[images["split"] == split], views if split == "train" else 0)
            for split in SPLITS
        }
        write_features(
            folder / "features",
            {"engine": "litert"},
            self.points.shape[1:],
            [(split, rows, vectors) for split, rows in tables.items()],
            backbone=BACKBONE,
            classes=tuple(sorted(set(images["label"]))),
            dtype="float32",
            views=views,
            views_record={"view": "seeded"} if views else None,
        )
        return read_features(folder / "features"), images


def clouds(each: int = 60, width: int = 16, apart: float = 4.0, seed: int = 1) -> Clouds:
    """``each`` images of three classes, eight tenths of them to train."""
    random = np.random.Generator(np.random.Philox(key=seed))
    labels = np.arange(3 * each) % 3
    points = random.normal(size=(3 * each, width))
    points[np.arange(3 * each), labels] += apart
    splits = [SPLITS[max(number // 3 % 10 - 7, 0)] for number in range(3 * each)]
    return Clouds(points.astype(np.float32), labels, splits)


def mislabel(made: Clouds, rows: list[int]) -> Clouds:
    """Give some images the label of the next class."""
    labels = made.labels.copy()
    labels[rows] = (labels[rows] + 1) % 3
    return Clouds(made.points, labels, made.splits)

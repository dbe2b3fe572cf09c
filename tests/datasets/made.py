"""Image manifests for tests, without images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from headstart.datasets.manifests import IMAGES, frame


class Image(NamedTuple):
    """One row: ``content`` stands for the bytes, so that equal numbers are identical images."""

    content: int
    label: str
    predefined: str = ""
    group: str = ""
    path: str | None = None


def image_id(content: int) -> str:
    return hashlib.sha256(content.to_bytes(8, "big")).hexdigest()


def manifest(images: Sequence[Image]) -> pd.DataFrame:
    """An image manifest, sorted by path; an image without a path gets one of its own."""
    rows = [
        {
            "image_id": image_id(image.content),
            "path": image.path or f"{image.label}/{number:06}.png",
            "label": image.label,
            "predefined_split": image.predefined,
            "width": 8,
            "height": 8,
            "format": "png",
            "bytes": 8,
            "group": image.group,
            "shard": int(image_id(image.content)[:8], 16) % 64,
            "offset": 0,
        }
        for number, image in enumerate(images)
    ]
    return frame(rows, IMAGES).sort_values("path").reset_index(drop=True)

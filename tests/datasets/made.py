"""Image manifests for tests, without pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from headstart.datasets.manifests import IMAGES, frame


class Picture(NamedTuple):
    """One row: ``content`` stands for the bytes, so that equal numbers are identical pictures."""

    content: int
    label: str
    given: str = ""
    group: str = ""
    path: str | None = None


def image_id(content: int) -> str:
    return hashlib.sha256(content.to_bytes(8, "big")).hexdigest()


def manifest(pictures: Sequence[Picture]) -> pd.DataFrame:
    """An image manifest, sorted by path; a picture without a path gets one of its own."""
    rows = [
        {
            "image_id": image_id(picture.content),
            "path": picture.path or f"{picture.label}/{number:06}.png",
            "label": picture.label,
            "given_split": picture.given,
            "width": 8,
            "height": 8,
            "format": "png",
            "bytes": 8,
            "group": picture.group,
            "shard": int(image_id(picture.content)[:8], 16) % 64,
            "offset": 0,
        }
        for number, picture in enumerate(pictures)
    ]
    return frame(rows, IMAGES).sort_values("path").reset_index(drop=True)

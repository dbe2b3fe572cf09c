"""``features.json``: which backbone the features are of, the classes, the shapes, the files'
sha256.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart._utils.errors import CorruptFileError
from headstart.datasets.manifests import SPLITS
from headstart.features.npy import DTYPES
from headstart.features.store import fingerprint

FORMAT = 1
HEADER = "features.json"
#: What the header says of the backbone.
BACKBONE = ("name", "alpha", "weights", "image_size", "cut", "pooling")
MEND = "Delete the folder and run extract_features again: what the store holds costs no pass."


@dataclass(frozen=True)
class SplitEntry:
    """Shape of a split's array, rows first, and the sha256 of its two files."""

    shape: tuple[int, ...]
    sha256_npy: str
    sha256_rows: str


@dataclass(frozen=True)
class FeaturesHeader:
    """The content of features.json.

    Parameters
    ----------
    fingerprint : str
        Hex sha256 of the canonical ``fingerprint_record``: what decides a feature's bits.
    fingerprint_record : dict
        JSON values.
    backbone : dict
        name, alpha, weights, image_size, cut, pooling.
    random_weights : bool
        Whether the backbone knows nothing, so that no score rests on transfer.
    classes : tuple of str
        Sorted labels of the whole manifest.
    dtype : str
        float32 or float16.
    splits : dict of str to SplitEntry
        train, validation and test.
    views : dict or None
        Where augmented views of the training images are recorded besides: their ``count`` an
        image, and the ``fingerprint`` and ``fingerprint_record`` of their store.
    """

    fingerprint: str
    fingerprint_record: dict[str, Any]
    backbone: dict[str, Any]
    random_weights: bool
    classes: tuple[str, ...]
    dtype: str
    splits: dict[str, SplitEntry]
    views: dict[str, Any] | None = None

    @property
    def view_count(self) -> int:
        """Augmented views that are recorded of each training image."""
        return 0 if self.views is None else int(self.views["count"])

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        return self.splits["train"].shape[1:]


def read_header(path: Path) -> FeaturesHeader:
    """Read and check the header; the files that it names are not looked at.

    Raises
    ------
    CorruptFileError
        Naming what differs.
    """
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise CorruptFileError(
                f"{path}: expected format {FORMAT}, got {found['format']!r}. {MEND}"
            )
        header = FeaturesHeader(
            fingerprint=str(found["fingerprint"]),
            fingerprint_record=dict(found["fingerprint_record"]),
            backbone={name: found["backbone"][name] for name in BACKBONE},
            random_weights=found["random_weights"],
            classes=tuple(str(name) for name in found["classes"]),
            dtype=found["dtype"],
            splits={name: _entry(found["splits"][name]) for name in SPLITS},
            views=None if found.get("views") is None else _views(found["views"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{path} cannot be read as a features header: {type(error).__name__}: {error}. {MEND}"
        ) from error
    _check_header(path, header)
    return header


def _entry(found: Mapping[str, Any]) -> SplitEntry:
    shape = tuple(int(side) for side in found["shape"])
    return SplitEntry(shape, str(found["sha256_npy"]), str(found["sha256_rows"]))


def _views(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "count": int(found["count"]),
        "fingerprint": str(found["fingerprint"]),
        "fingerprint_record": dict(found["fingerprint_record"]),
    }


def _check_header(path: Path, header: FeaturesHeader) -> None:
    shapes = {entry.shape[1:] for entry in header.splits.values()}
    views = header.views
    faults = {
        "fingerprint is not that of fingerprint_record": (
            fingerprint(header.fingerprint_record) != header.fingerprint
        ),
        "the views' fingerprint is not that of their record, or there are none": (
            views is not None
            and (
                views["count"] < 1
                or fingerprint(views["fingerprint_record"]) != views["fingerprint"]
            )
        ),
        f"dtype is none of {', '.join(DTYPES)}": header.dtype not in DTYPES,
        "random_weights is neither true nor false": not isinstance(header.random_weights, bool),
        "classes are not sorted and distinct": (
            not header.classes or list(header.classes) != sorted(set(header.classes))
        ),
        "the splits have different feature shapes": len(shapes) != 1,
        "a split has no rows": any(
            not entry.shape or min(entry.shape) < 1 for entry in header.splits.values()
        ),
    }
    for fault, is_so in faults.items():
        if is_so:
            raise CorruptFileError(f"{path}: {fault}. {MEND}")

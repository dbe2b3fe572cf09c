"""The probes' guesses on a split, kept in the cache folder: a repeated comparison fits nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field
from threadpoolctl import threadpool_limits

from headstart._utils.cache import cache_folder
from headstart._utils.errors import CorruptFileError
from headstart._utils.records import Record, Sha256, read_record, write_record
from headstart.datasets.manifests import class_names
from headstart.features.store import FeatureStore, canonical
from headstart.selection.probes import SPEC, Ints, fit_linear, nearest

_PACKAGES = ("numpy", "scikit-learn", "scipy")
_Index = Annotated[int, Field(ge=0)]


class Images:
    """The images of a split manifest, with their labels as class indices.

    Parameters
    ----------
    rows : DataFrame
        A split manifest.

    Attributes
    ----------
    classes : list of str
        Sorted labels.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.classes = class_names(rows)
        self._rows = rows

    def of(self, *splits: str) -> pd.DataFrame:
        """Return the rows of some splits, in the manifest's order."""
        return self._rows[self._rows["split"].isin(splits)]

    def labels(self, split: str) -> Ints:
        """Return the class index of each image of a split."""
        return np.searchsorted(np.array(self.classes), self.of(split)["label"].to_numpy(str))


class Guesses(Record):
    """The class indices that the probes guess for the images of a split.

    Attributes
    ----------
    strength : float
        Chosen for the linear probe: its inverse regularization.
    linear, nearest : tuple of int
        In the order of the manifest.
    sha256 : str
        Of the other fields.
    """

    format: Literal[1] = 1
    strength: float
    linear: tuple[_Index, ...]
    nearest: tuple[_Index, ...]
    sha256: Sha256

    @classmethod
    def of(cls, strength: float, linear: Ints, near: Ints) -> Guesses:
        """Return the record of some guesses."""
        fields = {"strength": strength, "linear": linear.tolist(), "nearest": near.tolist()}
        return cls(
            strength=strength, linear=tuple(fields["linear"]), nearest=tuple(fields["nearest"]),
            sha256=_digest(fields),
        )  # fmt: skip

    def is_sound(self, count: int, classes: int) -> bool:
        """Return whether the record has this many images and is intact."""
        fields = self.model_dump(mode="json", include={"strength", "linear", "nearest"})
        lengths = {len(self.linear), len(self.nearest)}
        highest = max((*self.linear, *self.nearest), default=0)
        return _digest(fields) == self.sha256 and lengths == {count} and highest < classes


@dataclass(frozen=True)
class Probing:
    """The probes on the features of one backbone.

    Attributes
    ----------
    images : Images
    store : FeatureStore
        Holds the features of all images that are asked for.
    seed : int
        Of params.yaml.
    """

    images: Images
    store: FeatureStore
    seed: int

    def guesses(self, split: str, strength: float | None = None) -> Guesses:
        """Return the guesses on a split: the recorded ones, or new ones.

        Parameters
        ----------
        split : "validation" | "test"
        strength : float, optional
            That of the guesses on another split; None: it is searched.
        """
        file = cache_folder() / "probes" / f"{self._key(split)}.json"
        count, classes = len(self.images.of(split)), len(self.images.classes)
        found = _recorded(file)
        if found is None or not found.is_sound(count, classes):
            found = self._computed(split, strength)
            write_record(file, found)
        return found

    def _computed(self, split: str, strength: float | None) -> Guesses:
        train, labels = self.images.of("train"), self.images.labels("train")
        known, asked = self._features(train), self._features(self.images.of(split))
        # Several threads wait for each other busily, and take longer on a busy machine.
        with threadpool_limits(1, user_api="blas"):
            fitted = fit_linear(known, labels, _groups(train), self.seed, strength)
            near = nearest(known, labels, asked, len(self.images.classes))
            return Guesses.of(fitted.strength, fitted.predict(asked), near)

    def _features(self, rows: pd.DataFrame) -> np.ndarray:
        found = self.store.array(rows["image_id"].tolist())
        return found.reshape(len(found), -1)

    def _key(self, split: str) -> str:
        train = self.images.of("train")
        facts = {
            "spec": SPEC,
            "packages": {name: metadata.version(name) for name in _PACKAGES},
            "features": self.store.fingerprint,
            "seed": self.seed,
            "train": [
                train["image_id"].tolist(), self.images.labels("train").tolist(), _groups(train)
            ],
            "asked": self.images.of(split)["image_id"].tolist(),
        }  # fmt: skip
        return hashlib.sha256(canonical(facts).encode()).hexdigest()


def _groups(rows: pd.DataFrame) -> list[str]:
    """Return the split group of each row, or the image itself where it has none."""
    return rows["group"].where(rows["group"] != "", rows["image_id"]).tolist()


def _recorded(file: Path) -> Guesses | None:
    if not file.exists():
        return None
    try:
        return read_record(file, Guesses, "It is made again.")
    except CorruptFileError:
        return None


def _digest(fields: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

"""The header of a features folder, ``features.json``: its content, and the hash of every file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from headstart._utils.records import Record
from headstart.backbones.record import BackboneSummary
from headstart.datasets.manifests import SPLITS
from headstart.features.store import fingerprint


class PartEntry(Record):
    """Rows of a part of a split, and the sha256 of its two files."""

    rows: Annotated[int, Field(ge=0)]
    sha256_npy: str
    sha256_rows: str


class SplitEntry(Record):
    """Shape of a split's array, rows first, and the sha256 of its two files, or its parts."""

    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, description="a split has no rows")], ...],
        Field(min_length=1),
    ]
    sha256_npy: str | None = None
    sha256_rows: str | None = None
    parts: tuple[PartEntry, ...] | None = None

    @model_serializer(mode="wrap")
    def _present(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    @model_validator(mode="after")
    def _is_one_file_or_parts(self) -> Self:
        files = self.sha256_npy is not None and self.sha256_rows is not None
        if files == (self.parts is not None):
            raise ValueError("a split has either sha256_npy and sha256_rows, or parts")
        if self.parts is not None and sum(part.rows for part in self.parts) != self.shape[0]:
            raise ValueError("the parts do not have as many rows as their split")
        return self


class Fingerprinted(Record):
    """The record of what decides a feature's bits, JSON values, and its hex sha256."""

    fingerprint: str
    fingerprint_record: dict[str, Any]

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if fingerprint(self.fingerprint_record) != self.fingerprint:
            raise ValueError("fingerprint is not that of fingerprint_record")
        return self


class ViewsEntry(Fingerprinted):
    """Augmented views that are cached of each training image: their number, and their store."""

    count: Annotated[int, Field(ge=1)]


class FeaturesHeader(Fingerprinted):
    """The content of features.json.

    Attributes
    ----------
    backbone : BackboneSummary
    classes : tuple of str
        Sorted labels of the whole manifest.
    dtype : {"float32", "float16"}
    splits : dict of str to SplitEntry
        Of train, validation and test.
    views : ViewsEntry or None
        None if no augmented views are cached.
    """

    format: Literal[1] = 1
    backbone: BackboneSummary
    classes: tuple[str, ...]
    dtype: Literal["float32", "float16"]
    splits: dict[str, SplitEntry]
    views: ViewsEntry | None = None

    @field_validator("classes")
    @classmethod
    def _are_sorted(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if not classes or list(classes) != sorted(set(classes)):
            raise ValueError("classes are not sorted and distinct")
        return classes

    @field_validator("splits")
    @classmethod
    def _fit_together(cls, splits: dict[str, SplitEntry]) -> dict[str, SplitEntry]:
        if sorted(splits) != sorted(SPLITS):
            raise ValueError(f"the splits are {sorted(splits)}, expected {sorted(SPLITS)}")
        if len({entry.shape[1:] for entry in splits.values()}) != 1:
            raise ValueError("the splits have different feature shapes")
        return splits

    @property
    def view_count(self) -> int:
        """Augmented views that are cached of each training image."""
        return 0 if self.views is None else self.views.count

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""
        return self.splits["train"].shape[1:]

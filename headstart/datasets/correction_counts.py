"""The counts of corrections in the metrics of the stage ``split``, for the pages about a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from headstart._utils.records import Facts, read_facts
from headstart._utils.tables import counted

_Count = Annotated[int, Field(ge=0)]


class _Corrections(Facts):
    keep: _Count
    remove: _Count
    same_object: _Count
    relabel: dict[Literal["train", "validation", "test"], _Count]


class _Metrics(Facts):
    corrections: _Corrections | None = None


def read_correction_counts(path: Path) -> dict[str, Any]:
    """Read the counts by action, those of ``relabel`` by split; empty without corrections.

    Raises
    ------
    CorruptFileError
        If the file is damaged.
    """
    again = "`dvc repro --force --single-item split` writes it again."
    return read_facts(path, _Metrics, again)["corrections"] or {}


def describe_corrections(counts: Mapping[str, Any]) -> str:
    """Return the counts for people: "2 images relabeled (train 2), 1 image removed"; "" if none."""
    if not counts:
        return ""
    relabeled = {split: count for split, count in counts["relabel"].items() if count}
    by_split = ", ".join(f"{split} {count:,}" for split, count in relabeled.items())
    relabel = f"{counted(sum(relabeled.values()), 'image')} relabeled"
    parts = [
        f"{relabel} ({by_split})" if by_split else relabel,
        f"{counted(counts['remove'], 'image')} removed",
        f"{counted(counts['same_object'], 'pair')} held together",
        f"{counted(counts['keep'], 'label or pair', 'labels or pairs')} confirmed",
    ]
    return ", ".join(parts)

"""What is told of a classifier at several sizes of images: a table, CSV, JSON values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headstart._utils.tables import columns
from headstart.evaluation.comparison import Paired, p_text
from headstart.evaluation.metrics import wilson_interval
from headstart.evaluation.sizes import Durations


@dataclass(frozen=True)
class AtSize:
    """A classifier at one size.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    right, images : int
        Test images that it is right about, and all of them.
    durations : Durations
    paired : Paired or None
        The trained size first, this one second; None at the trained size.
    """

    size: int
    right: int
    images: int
    durations: Durations
    paired: Paired | None

    @property
    def accuracy(self) -> float:
        """Share of right first guesses."""
        return self.right / self.images


def table(found: Sequence[AtSize]) -> str:
    """A row for each size; the first is the trained one.

    Parameters
    ----------
    found : sequence of AtSize
    """
    first = found[0]
    rows = [
        ("size", "accuracy", "95 % interval", "difference", f"{first.size} alone", "it alone", "p",
         "decoding", "network", "times as fast"),
        *(_row(each, first) for each in found),
    ]  # fmt: skip
    return columns(rows, "lrrrrrrrrr")


def _row(each: AtSize, first: AtSize) -> tuple[str, ...]:
    low, high = wilson_interval(each.right, each.images)
    compared = ("trained", "", "", "")
    if each.paired is not None:
        compared = (
            f"{100 * (each.accuracy - first.accuracy):+.1f} points",
            f"{each.paired.first_only:,}",
            f"{each.paired.second_only:,}",
            p_text(each.paired.test.p),
        )
    took = each.durations
    return (
        f"{each.size}",
        _percent(each.accuracy),
        f"{_percent(low)} to {_percent(high)}",
        *compared,
        f"{took.decoding:.2f} ms",
        f"{took.network:.2f} ms",
        f"{first.durations.together / took.together:.1f}",
    )


def values(found: Sequence[AtSize]) -> list[dict[str, Any]]:
    """The same for programs: a mapping for each size, with None at the trained one."""
    return [_values(each, found[0]) for each in found]


def _values(each: AtSize, first: AtSize) -> dict[str, Any]:
    low, high = wilson_interval(each.right, each.images)
    pairs = each.paired
    return {
        "size": each.size,
        "images": each.images,
        "right": each.right,
        "accuracy": each.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "difference": None if pairs is None else each.accuracy - first.accuracy,
        "trained_size_alone_right": None if pairs is None else pairs.first_only,
        "alone_right": None if pairs is None else pairs.second_only,
        "p": None if pairs is None else pairs.test.p,
        "decoding_ms": each.durations.decoding,
        "network_ms": each.durations.network,
        "times_as_fast": first.durations.together / each.durations.together,
    }


def csv_text(found: Sequence[AtSize]) -> str:
    """:func:`values` as CSV, with its header and without the last line's end."""
    rows = values(found)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

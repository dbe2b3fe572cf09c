"""The section of the page on the audit: suspicious images, classes, and the learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from headstart._utils.errors import ImageError
from headstart._utils.records import Facts, read_facts
from headstart.audit.tables import (
    AGAIN,
    WRONG,
    read_classes,
    read_curve,
    read_issues,
    read_outliers,
)
from headstart.datasets.shards import ShardReader
from headstart.report.drawing import Draw, Inks, dressed_axes, in_percent
from headstart.report.images import thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ISSUES, _OUTLIERS, _CLASSES = 24, 12, 20  # that the page shows


@dataclass(frozen=True)
class Audit:
    """What the audit found; tables as in :mod:`headstart.audit.tables`, and its metrics."""

    issues: pd.DataFrame
    outliers: pd.DataFrame
    classes: pd.DataFrame
    curve: pd.DataFrame
    metrics: Mapping[str, Any]

    @classmethod
    def read(cls, issues: Path, outliers: Path, classes: Path, curve: Path, metrics: Path) -> Self:
        """Read the files of the stage."""
        return cls(
            read_issues(issues),
            read_outliers(outliers),
            read_classes(classes),
            read_curve(curve),
            read_facts(metrics, Facts, AGAIN),
        )

    def section(self, images: Path, manifest: pd.DataFrame) -> dict[str, Any]:
        """Return what the page shows.

        Parameters
        ----------
        images : Path
            Folder of the shards.
        manifest : DataFrame
            The sample manifest: says where each image lies in them.
        """
        flagged = self.classes[
            (self.classes[["too_small", "overlapping", "wrong_labels"]] > 0).any(axis=1)
        ].sort_values(["overlap", "wrong_labels", "label"], ascending=[False, False, True])
        # Without one that is far from all classes, only a few of the farthest.
        count = max(int(self.outliers["outlier"].sum()), _OUTLIERS // 2)
        return {
            "metrics": self.metrics,
            "probable": int((self.issues["kind"] == WRONG).sum()),
            "issues": _cards(self.issues.head(_ISSUES), images, manifest),
            "outliers": _cards(self.outliers.head(min(count, _OUTLIERS)), images, manifest),
            "classes": flagged.head(_CLASSES).to_dict("records"),
            "more_classes": max(len(flagged) - _CLASSES, 0),
            "curve": self.curve.to_dict("records"),
        }


def _cards(rows: pd.DataFrame, images: Path, manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows with the thumbnails of their images."""
    wanted = manifest[manifest["path"].isin(rows["path"])]
    columns = ["path", "shard", "offset", "bytes", "image_id"]
    places = {path: place for path, *place in wanted[columns].itertuples(index=False, name=None)}
    cards = []
    with ShardReader(images) as reader:
        for row in rows.to_dict("records"):
            try:
                image = (
                    thumbnail(reader.read(*places[row["path"]])) if row["path"] in places else None
                )
            except ImageError:
                image = None
            cards.append({**{str(name): value for name, value in row.items()}, "image": image})
    return cards


def draw_curve(table: pd.DataFrame) -> Draw:
    """Return the accuracy by training images: measured, then forecast, with 90 % bands.

    Parameters
    ----------
    table : DataFrame
        ``kind`` (measured, forecast), ``images``, ``accuracy``, ``low``, ``high``.
    """

    def draw(figure: Figure, inks: Inks) -> None:
        axes = dressed_axes(figure, inks, "accuracy", "training images")
        measured, forecast = (table[table["kind"] == kind] for kind in ("measured", "forecast"))
        x, y = measured["images"], measured["accuracy"]
        axes.vlines(x, measured["low"], measured["high"], color=inks.first, linewidth=1, alpha=0.6)
        axes.plot(x, y, "-", color=inks.first, marker="o", markersize=4, label="measured")
        ahead = pd.concat([measured.tail(1), forecast])
        axes.fill_between(
            ahead["images"], ahead["low"], ahead["high"], color=inks.second, alpha=0.2, linewidth=0
        )
        axes.plot(
            ahead["images"], ahead["accuracy"], color=inks.second, linestyle=(0, (4, 1.5)),
            label="forecast",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(table["images"][::2], [f"{count:,}" for count in table["images"][::2]])
        axes.set_xticks([], minor=True)
        in_percent(axes.yaxis)
        axes.legend(loc="lower right")

    return draw

"""The audit of a run's data on its cached features: tables, metrics and text; no forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import columns, counted, plain
from headstart.audit.drift import Drift, compare
from headstart.audit.forecast import forecast, measured_bands
from headstart.audit.labels import (
    Judged,
    classes_table,
    issues_table,
    judge_labels,
    outliers_table,
)
from headstart.audit.learning_curve import Curve, measure
from headstart.audit.moments import Indices, block_moments, deal
from headstart.audit.neighbors import neighbor_shares
from headstart.audit.parameters import AuditParams
from headstart.audit.tables import CLASSES, CURVE, ISSUES, OUTLIERS, WRONG
from headstart.audit.vectors import Whole, whole_numbers
from headstart.datasets.groups import group_names
from headstart.datasets.manifests import SPLITS, frame
from headstart.features.folder import Features

#: Multiples of the present number of training images for which the accuracy is forecast.
MULTIPLES = (1, 2, 4)
_FIRST = (10, 50)  # rows of the label issues whose expected precision is among the metrics
_SHOWN = 5
_DRIFTED = 0.01
_NARROW = 640  # features


@dataclass(frozen=True)
class Inspection:
    """The findings of the audit.

    Attributes
    ----------
    issues, outliers, classes, curve : DataFrame
        See :mod:`headstart.audit.tables`.
    images : int
        Number of images audited; 0 if the audit is off.
    wrong : float
        Expected number of wrong labels.
    rate : float
        Share of wrong labels under which the labels are most probable.
    accuracy : float
        Of a linear classifier, out of fold.
    drift : Drift or None
    """

    issues: pd.DataFrame
    outliers: pd.DataFrame
    classes: pd.DataFrame
    curve: pd.DataFrame
    images: int = 0
    wrong: float = 0.0
    rate: float = 0.0
    accuracy: float = 0.0
    drift: Drift | None = None

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for the metrics file: all follow from the tables' recorded values."""
        if not self.images:
            return {"images": 0}
        probable = int((self.issues["kind"] == WRONG).sum())
        precision = self.issues["expected_precision"]
        found: dict[str, Any] = {
            "images": self.images,
            "out_of_fold_accuracy": self.accuracy,
            "label_issues": {
                "wrong_labels": probable,
                "wrong_labels_expected": self.wrong,
                "wrong_share_estimated": self.rate,
                "near_another_class": len(self.issues) - probable,
                **{
                    f"expected_precision_of_{first}": float(precision[first - 1])
                    for first in _FIRST
                    if first <= len(precision)
                },
            },
            "outliers": int(self.outliers["outlier"].sum()),
            "classes_too_small": int(self.classes["too_small"].sum()),
            "classes_overlapping": int(self.classes["overlapping"].sum()),
        }
        if self.drift:
            found["drift"] = {"auroc": self.drift.auroc, "p": self.drift.p}
        forecasts = self.curve[self.curve["kind"] == "forecast"]
        if len(forecasts):
            found["learning_curve"] = {
                f"{name}_{multiple}x": float(row[name])
                for multiple, row in zip(MULTIPLES, forecasts.to_dict("records"), strict=True)
                for name in ("accuracy", "low", "high")
            }
        return found

    def describe(self) -> str:
        """Return the findings for a terminal."""
        if not self.images:
            return "Not audited: `audit.enabled` is false, or there is only one class."
        probable = self.issues[self.issues["kind"] == WRONG]
        summary = (
            f"{counted(self.images, 'image')} audited, 0 forward passes: "
            f"{counted(len(probable), 'label is', 'labels are')} probably wrong "
            f"({self.wrong:.0f} expected), "
            f"{counted(len(self.issues) - len(probable), 'image')} near another class, "
            f"{counted(int(self.outliers['outlier'].sum()), 'outlier')}."
        )
        lines = [
            summary,
            *(
                f"  {plain(row['path'])}: {plain(row['label'])}, rather {plain(row['suggested'])} "
                f"({row['wrong']:.2f})"
                for row in probable.head(_SHOWN).to_dict("records")
            ),
        ]
        lines += ["  …"] if len(probable) > _SHOWN else []
        lines += self._classes()
        if self.drift and self.drift.p <= _DRIFTED:
            lines.append(
                "The test images are not like the others: a classifier tells them apart with an "
                f"AUROC of {self.drift.auroc:.3f} (p = {self.drift.p:.3f})."
            )
        forecasts = self.curve[self.curve["kind"] == "forecast"]
        if len(forecasts):
            lines.append("Accuracy of a linear classifier by training images, with a 90 % band:")
            shown = [
                (f"  {row['images']:,}", f"{row['accuracy']:.3f}",
                 f"{row['low']:.3f} to {row['high']:.3f}")
                for row in forecasts.to_dict("records")
            ]  # fmt: skip
            lines.append(columns(shown, "rrl"))
        return "\n".join(lines)

    def _classes(self) -> list[str]:
        lines = []
        small = self.classes[self.classes["too_small"] == 1]
        if len(small):
            names = ", ".join(plain(name) for name in small["label"].head(_SHOWN))
            more = ", …" if len(small) > _SHOWN else ""
            lines.append(
                f"{counted(len(small), 'class has', 'classes have')} few images: {names}{more}"
            )
        overlapping = self.classes[self.classes["overlapping"] == 1]
        if len(overlapping):
            pairs = dict.fromkeys(
                " and ".join(sorted((plain(row["label"]), plain(row["overlaps_with"]))))
                for row in overlapping.sort_values("overlap", ascending=False).to_dict("records")
            )
            more = ", …" if len(pairs) > _SHOWN else ""
            lines.append(f"Classes that overlap: {', '.join(list(pairs)[:_SHOWN])}{more}")
        return lines


def inspect(
    features: Features, images: pd.DataFrame, duplicates: Mapping[str, str],
    params: AuditParams, seed: int,
) -> Inspection:  # fmt: skip
    """Audit the data of a run.

    Parameters
    ----------
    features : Features
    images : DataFrame
        The sample manifest, to which the features belong.
    duplicates : mapping of str to str
        Group of near duplicates by image id: copies must not vouch for each other's label.
    params : AuditParams
    seed : int

    Raises
    ------
    HeadstartError
        If features and manifest are of different runs.
    """
    classes = features.header.classes
    if not params.enabled or len(classes) < 2:
        return Inspection(
            frame([], ISSUES), frame([], OUTLIERS), frame([], CLASSES), frame([], CURVE)
        )
    rows = _rows(features, images)
    groups = group_names(rows, duplicates).tolist()
    values = whole_numbers(
        [features.gathered(split) for split in SPLITS],
        measured=2,
        lengths=[int((rows["split"] == split).sum()) for split in SPLITS],
        many=True,
    )
    # In small matrices, threads wait for one another longer than they compute.
    with threadpool_limits(1 if values.shape[1] <= _NARROW else None, user_api="blas"):
        labels = features.indices(rows).astype(np.int64)
        return _inspected(values, labels, rows, groups, classes, params, seed)


def _inspected(
    values: Whole, labels: Indices, rows: pd.DataFrame, groups: list[str],
    classes: tuple[str, ...], params: AuditParams, seed: int,
) -> Inspection:  # fmt: skip
    known = int((rows["split"] != "test").sum())
    blocks = deal(labels[:known], groups[:known], seed)
    parts = block_moments(values, labels, blocks, len(classes))
    codes = pd.factorize(np.array(groups, dtype=object))[0].astype(np.int64)
    shares = neighbor_shares(values, codes, labels[:known], len(classes), params.neighbors, seed)
    judged = judge_labels(values, labels, blocks, parts, shares, seed)
    curve = measure(values, labels[:known], blocks, parts)
    del parts
    return Inspection(
        issues=issues_table(rows, judged, classes),
        outliers=outliers_table(rows, judged.distances),
        classes=classes_table(labels, judged, known, classes, params.small_class),
        curve=_curve_table(curve, int((rows["split"] == "train").sum())),
        images=len(rows),
        wrong=_expected(judged),
        rate=judged.judge.rate,
        accuracy=judged.accuracy,
        drift=compare(values, (rows["split"] == "test").astype("int64").to_numpy(), groups, seed),
    )


def _rows(features: Features, images: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the manifest in the order of the features: train, validation, test."""
    parts = [images[images["split"] == split] for split in SPLITS]
    for split, part in zip(SPLITS, parts, strict=True):
        ours = part[["image_id", "label"]].reset_index(drop=True)
        if not ours.equals(features.images(split)):
            raise HeadstartError(
                f"The manifest and {features.folder} hold different {split} images: they come from "
                "different runs. Nothing was audited. Run the pipeline (`dvc repro`)."
            )
    return pd.concat(parts, ignore_index=True)


def _expected(judged: Judged) -> float:
    return round(float(judged.wrong[judged.judged].sum()), 1)


def _curve_table(curve: Curve, now: int) -> pd.DataFrame:
    """Return the measured points, then the forecasts from the present number of images on."""
    if len(curve.images) < 2:
        return frame([], CURVE)
    sizes = [now * multiple for multiple in MULTIPLES]
    bands = [
        *(
            ("measured", size, band)
            for size, band in zip(curve.images, measured_bands(curve), strict=True)
        ),
        *(
            ("forecast", size, band)
            for size, band in zip(sizes, forecast(curve, sizes), strict=True)
        ),
    ]
    rows = [
        {
            "kind": kind,
            "images": int(size),
            "accuracy": round(1 - band.error, 4),
            "low": round(1 - band.high, 4),
            "high": round(1 - band.low, 4),
        }
        for kind, size, band in bands
    ]
    return frame(rows, CURVE)

"""A run as its files tell it: read, drawn, and rendered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from headstart._utils.files import read_json
from headstart._utils.machine import cores
from headstart.backbones.record import BackboneRecord, read_backbone
from headstart.datasets.csv_table import read_table
from headstart.datasets.manifests import read_rejected, read_split
from headstart.evaluation.passes import TABLE, passes_table
from headstart.evaluation.predictions import Predictions, read_predictions
from headstart.report import cost, dataset, figures, gallery, provenance, results
from headstart.report import page as pages
from headstart.report.parameters import MakeReportParams
from headstart.report.thumbnails import kept
from headstart.stage.page import Page
from headstart.training.history import read_batches, read_epochs

_CALIBRATION = {"bin": "int64", "confidence": "float64", "accuracy": "float64", "count": "int64"}
#: A bound for releases: no stage watches it, so the page could not keep up with it.
_NOT_SHOWN = {"gate"}


@dataclass(frozen=True)
class Files:
    """Where a run's files are."""

    images: Path
    manifest: Path
    rejected: Path
    rejected_images: Path
    backbone_folder: Path
    head_epochs: Path
    head_batches: Path
    fine_tune_epochs: Path
    predictions: Path
    metrics: Path
    calibration: Path
    export_folder: Path
    export_metrics: Path
    run_statistics: Path


@dataclass(frozen=True)
class Run:
    """What the files hold, checked by their readers.

    Attributes
    ----------
    files : Files
    metrics : dict
        Scores of both models.
    images : DataFrame
        The sample manifest: what was used.
    predictions : Predictions
        Of the test split.
    backbone : BackboneRecord
    epochs, batches, tuned : DataFrame
        Histories of the head by epoch and by batch, and of fine-tuning by epoch; may be empty.
    calibration : DataFrame
        Bins that hold images.
    """

    files: Files
    metrics: dict[str, Any]
    images: pd.DataFrame
    predictions: Predictions
    backbone: BackboneRecord
    epochs: pd.DataFrame
    batches: pd.DataFrame
    tuned: pd.DataFrame
    calibration: pd.DataFrame


def read(files: Files) -> Run:
    """Read what the figures and the page are made of."""
    metrics = read_json(files.metrics)
    return Run(
        files=files,
        metrics=metrics,
        images=read_split(files.manifest),
        predictions=read_predictions(files.predictions, metrics["classes"]),
        backbone=read_backbone(files.backbone_folder),
        epochs=read_epochs(files.head_epochs),
        batches=read_batches(files.head_batches),
        tuned=read_epochs(files.fine_tune_epochs),
        calibration=read_table(files.calibration, _CALIBRATION, "a table of calibration"),
    )


def draw(run: Run, folder: Path) -> None:
    """Write the figures; the same run gives the same bytes."""
    if len(run.epochs) + len(run.tuned):
        for column in ("loss", "accuracy"):
            figures.write(folder, column, figures.curves(column, run.epochs, run.tuned))
    if len(run.batches):
        figures.write(folder, "batches", figures.batches(run.batches))
    figures.write(folder, "calibration", figures.calibration(run.calibration), figures.SQUARE)
    counts = results.confusion(run.predictions, run.metrics["classes"])
    size = figures.confusion_size(len(counts))
    figures.write(folder, "confusion", figures.confusion(counts), size)
    figures.write(
        folder,
        "sizes",
        figures.sizes(run.images["width"], run.images["height"], run.backbone.image_size),
    )


def show(run: Run, drawn: Path, page: Page, seed: int, params: MakeReportParams) -> None:
    """Write the page.

    Parameters
    ----------
    run : Run
    drawn : Path
        Folder of the figures.
    page : Page
    seed : int
        Draws the grid of predictions.
    params : MakeReportParams
    """
    classes = run.metrics["classes"]
    counts = results.confusion(run.predictions, classes)
    chosen = gallery.choose(run.predictions, params.images, seed)
    content: dict[str, Any] = {
        "metrics": run.metrics,
        "backbone": run.backbone,
        "scores": results.scores(run.metrics),
        "matrix": results.matrix(counts, classes),
        "confused": results.confused(run.metrics),
        "classes": results.classes(run.metrics, run.images, counts),
        "trained": len(run.epochs) + len(run.tuned),
        "tuning": len(run.tuned) > 0,
        "cards": gallery.cards(chosen, run.predictions, classes, run.files.images, run.images),
        "data": dataset.counted(run.images),
        "sizes": dataset.sized(run.images),
        "aside": dataset.aside(
            read_rejected(run.files.rejected), partial(kept, run.files.rejected_images)
        ),
        "exported": cost.exported(run.files.export_folder, read_json(run.files.export_metrics)),
        "commit": provenance.commit(),
        "params": {key: value for key, value in page.params.items() if key not in _NOT_SHOWN},
        **_journal(run.files.run_statistics, params),
    }
    pages.write(page.path, content, drawn)


def _journal(folder: Path, params: MakeReportParams) -> dict[str, Any]:
    """What the run cost, and the machine; features of others come without statistics."""
    environment = _read(folder / "environment.json", {})
    table = _read(folder / TABLE, passes_table({}, 0))
    extraction = _read(folder / "extract_features.json", {})
    busy = int(environment.get("cores", cores()))
    per_pass = extraction.get("seconds_per_pass")
    return {
        "environment": environment,
        "cost": cost.cost(table, per_pass, busy, params.watts_per_core),
    }


def _read(path: Path, otherwise: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) if path.exists() else otherwise
    return found

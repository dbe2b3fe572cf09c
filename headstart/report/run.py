"""A run from its files: read them, draw the figures, render the page."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart._utils.errors import CorruptFileError
from headstart._utils.machine import cores
from headstart._utils.records import Facts, read_facts
from headstart.backbones.record import read_backbone
from headstart.datasets.correction_counts import describe_corrections, read_correction_counts
from headstart.datasets.manifests import read_rejected, read_split
from headstart.datasets.manifests import read_table as read_csv
from headstart.evaluation.environment import ENVIRONMENT
from headstart.evaluation.passes import TABLE, passes_table, read_table
from headstart.evaluation.predictions import AGAIN
from headstart.evaluation.recorded import read_evaluated
from headstart.report import cost, figures, images, results
from headstart.report import page as pages
from headstart.report.audit import Audit, draw_curve
from headstart.report.drawing import SQUARE, WIDE, Drawing, write_figures
from headstart.report.parameters import MakeReportParams
from headstart.report.trials import trials
from headstart.stage.page import Page
from headstart.stage.run_statistics import RunStatistics
from headstart.training.history import read_batches, read_epochs

_CALIBRATION = {"bin": "int64", "confidence": "float64", "accuracy": "float64", "count": "int64"}
#: Bounds for releases: no stage depends on them, so the page could show outdated ones.
_NOT_SHOWN = {"gate"}
_SECONDS = 20  # for git on a slow disk; beyond it, the page shows no commit
#: Paths that the run itself has written when the page is made.
_WRITTEN = (":(exclude)data", ":(exclude)dvc.lock")
_FILES_SHOWN = 12
_OWN = "make_report"  # also writes the page after it was edited, which is not a new run


@dataclass(frozen=True)
class Files:
    """The paths of a run's files."""

    images: Path
    manifest: Path
    rejected: Path
    rejected_images: Path
    split_metrics: Path
    backbone_folder: Path
    head_epochs: Path
    head_batches: Path
    fine_tune_epochs: Path
    predictions: Path
    metrics: Path
    calibration: Path
    export_folder: Path
    export_metrics: Path
    label_issues: Path
    outliers: Path
    audit_classes: Path
    learning_curve: Path
    audit_metrics: Path
    run_statistics: Path


class Run:
    """The contents of the files, checked by their readers.

    Parameters
    ----------
    files : Files

    Attributes
    ----------
    metrics : dict
        Scores of both models.
    images : DataFrame
        The sample manifest: the images in use.
    predictions : Predictions
        Of the test split.
    backbone : BackboneRecord
    epochs, batches, tuned : DataFrame
        Histories of the head by epoch and by batch, and of fine-tuning by epoch; may be empty.
    calibration : DataFrame
        Bins that hold images.
    counts : ndarray of shape (n_classes, n_classes), int64
        The final model's confusion matrix, row = actual class.
    exported : dict
        Export formats with their comparisons.
    corrections : str
        The counts of what people corrected; "" for none.
    audit : Audit
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.images = read_split(files.manifest)
        self.predictions, self.metrics = read_evaluated(
            files.predictions, files.metrics, self.images
        )
        self.backbone = read_backbone(files.backbone_folder)
        self.epochs = read_epochs(files.head_epochs)
        self.batches = read_batches(files.head_batches)
        self.tuned = read_epochs(files.fine_tune_epochs)
        self.calibration = read_csv(
            files.calibration, _CALIBRATION, "a table of calibration", AGAIN
        )
        if int(self.calibration["count"].sum()) != len(self.predictions.rows):
            raise CorruptFileError(
                f"{files.calibration} does not count the {len(self.predictions.rows):,} images of "
                f"{files.predictions}, but {int(self.calibration['count'].sum()):,}. {AGAIN}"
            )
        self.exported = cost.exported(files.export_folder, files.export_metrics)
        self.counts = results.confusion(self.predictions, self.metrics["classes"])
        self.corrections = describe_corrections(read_correction_counts(files.split_metrics))
        self.audit = Audit.read(
            files.label_issues,
            files.outliers,
            files.audit_classes,
            files.learning_curve,
            files.audit_metrics,
        )


def draw(run: Run, folder: Path) -> None:
    """Write the figures; the same run gives the same bytes."""
    found: list[Drawing] = []
    if len(run.epochs) + len(run.tuned):
        found += [
            Drawing(column, figures.curves(column, run.epochs, run.tuned))
            for column in ("loss", "accuracy")
        ]
    if len(run.batches):
        found.append(Drawing("batches", figures.batches(run.batches)))
    found.append(Drawing("calibration", figures.calibration(run.calibration), SQUARE))
    size = figures.confusion_size(len(run.counts))
    found.append(Drawing("confusion", figures.confusion(run.counts), size))
    if len(run.audit.curve):
        found.append(Drawing("learning_curve", draw_curve(run.audit.curve), WIDE))
    sizes = figures.sizes(run.images, run.backbone.image_size)
    found.append(Drawing("sizes", sizes, WIDE))
    write_figures(folder, found)


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
    chosen = images.choose(run.predictions, params.images, seed)
    content: dict[str, Any] = {
        "metrics": run.metrics,
        "backbone": run.backbone,
        "scores": results.scores(run.metrics),
        "matrix": results.matrix(run.counts, classes),
        "confused": results.confused(run.metrics),
        "classes": results.classes(run.metrics, run.images, run.counts),
        "trained": len(run.epochs) + len(run.tuned),
        "tuning": len(run.tuned) > 0,
        "trials": trials(run.files.run_statistics, run.metrics["chosen_because"]),
        "cards": images.cards(chosen, run.predictions, classes, run.files.images, run.images),
        "data": images.counted(run.images),
        "sizes": images.sized(run.images),
        "rejected": images.rejected(read_rejected(run.files.rejected), run.files.rejected_images),
        "corrections": run.corrections,
        "exported": run.exported,
        "audit": run.audit.section(run.files.images, run.images),
        "commit": commit(),
        "params": {key: value for key, value in page.params.items() if key not in _NOT_SHOWN},
        "ended": ended(run.files.run_statistics),
        **_statistics(run.files.run_statistics, params),
    }
    pages.write(page.path, content, drawn)


def _statistics(folder: Path, params: MakeReportParams) -> dict[str, Any]:
    """Return the run's cost and machine; features from a remote come without statistics."""

    def read(name: str, otherwise: dict[str, Any]) -> dict[str, Any]:
        path = folder / name
        if not path.exists():
            return otherwise
        cure = "Remove it: the page then goes without, and the next run writes it again."
        return read_facts(path, Facts, cure)

    environment = read(ENVIRONMENT, {})
    there = (folder / TABLE).exists()
    table: Any = read_table(folder / TABLE) if there else passes_table({}, 0)
    per_pass = read("extract_features.json", {}).get("seconds_per_pass")
    busy = int(environment.get("cores", cores()))
    found = cost.cost(table, per_pass, busy, params.watts_per_core)
    return {"environment": environment, "cost": found}


def ended(folder: Path) -> datetime | None:
    """Return when the last stage before the page ended; None if no stage has run here.

    Parameters
    ----------
    folder : Path
        Of the run statistics. Git keeps none with a time, so a clone does not know.
    """
    entries = RunStatistics(folder, _OWN).others()
    times = [entry.get("ended") for stage, entry in entries.items() if stage != _OWN]
    known = [float(time) for time in times if isinstance(time, int | float)]
    return datetime.fromtimestamp(max(known), UTC) if known else None


@dataclass(frozen=True)
class Commit:
    """A commit, and how the tree differed from it.

    Attributes
    ----------
    sha : str
        40 hexadecimal digits.
    subject : str
        First line of its message.
    changed : tuple of str
        Tracked files that differed from it, without the run's own outputs; at most 12.
    more : int
        Number of further ones.
    """

    sha: str
    subject: str
    changed: tuple[str, ...]
    more: int


def commit() -> Commit | None:
    """Return the commit of the current folder; None without git, a repository, or a commit."""
    head = _git("log", "-1", "--format=%H%n%s")
    status = _git(
        "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", ".",
        *_WRITTEN,
    )  # fmt: skip
    if head is None or status is None:
        return None
    sha, _, subject = head.partition("\n")
    changed = [line[3:] for line in status.split("\0") if line]
    shown = tuple(changed[:_FILES_SHOWN])
    return Commit(sha.strip(), subject.strip(), shown, len(changed) - len(shown))


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            # Reading must not take the lock that somebody else's commit needs.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

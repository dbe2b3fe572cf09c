"""The files of a run that a review reads, with planted findings, and a review of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from headstart._utils.files import atomic_folder, write_json
from headstart.audit import tables
from headstart.datasets.corrections import write_corrections
from headstart.datasets.duplicates import PAIRS, write_pairs
from headstart.datasets.manifests import (
    IMAGES,
    REJECTED,
    frame,
    write_images,
    write_rejected,
    write_split,
)
from headstart.datasets.shards import ShardWriter
from headstart.evaluation.predictions import Predictions, write_predictions
from headstart.review.app import Review
from headstart.review.decisions import Decisions
from headstart.review.findings import Files, queues, read_known
from tests.images.made import jpeg

#: A class that a page must not take for markup, and a spreadsheet not for a formula.
EVIL = "=<img src=x onerror=document.title='run'>"
LABELS = (EVIL, "bee")
COUNT = 12


def paths(folder: Path) -> Files:
    data = folder / "data"
    return Files(
        manifest=data / "manifests/images.csv",
        shards=data / "images",
        split=data / "manifests/split.csv",
        pairs=data / "audit/duplicates.csv",
        issues=data / "audit/label_issues.csv",
        predictions=data / "reports/predictions.csv",
        evaluation=data / "metrics/evaluate.json",
        rejected=data / "manifests/rejected.csv",
        rejected_images=data / "rejected",
    )


def make(folder: Path) -> pd.DataFrame:
    """Write the files; return the manifest, whose row n has the content n."""
    files = paths(folder)
    contents = [jpeg(90, 60, seed=n) for n in range(COUNT)]
    with atomic_folder(files.shards) as shards, ShardWriter(shards) as writer:
        ids = [writer.add(content, "jpg") for content in contents]
        places = writer.finish()
    rows = [
        {
            "image_id": one, "path": f"{'bee' if n % 2 else 'evil'}/{n:02}.jpg",
            "label": LABELS[n % 2], "predefined_split": "", "width": 90, "height": 60,
            "format": "jpeg", "bytes": len(contents[n]), "group": "",
            "shard": places[one].shard, "offset": places[one].offset,
        }
        for n, one in enumerate(ids)
    ]  # fmt: skip
    table = frame(rows, IMAGES)
    write_images(files.manifest, table)
    write_split(files.split, table.assign(split=["train", "train", "train", "test"] * 3))
    _write_findings(files, table)
    write_corrections(folder / "data/corrections.csv", [])
    return table


def _write_findings(files: Files, table: pd.DataFrame) -> None:
    ids, shown = table["image_id"], table["path"]
    pairs = [
        {
            "image_id": min(ids[a], ids[b]), "other_id": max(ids[a], ids[b]), "path": shown[a],
            "other_path": shown[b], "label": EVIL, "other_label": "bee", "kind": "cropped",
            "similarity": similarity, "conflict": 1, "leak": 0, "group": ids[a],
        }
        for a, b, similarity in ((0, 1, 0.91), (4, 5, 0.97))
    ]  # fmt: skip
    write_pairs(files.pairs, frame(pairs, PAIRS))
    issues = [
        {
            "rank": place + 1, "image_id": ids[n], "path": shown[n], "split": "train",
            "label": table["label"][n], "suggested": LABELS[1 - n % 2], "kind": tables.WRONG,
            "doubt": 2.0, "wrong": 0.9, "expected_precision": 0.9,
        }
        for place, n in enumerate((2, 6))
    ]  # fmt: skip
    tables.write(files.issues, frame(issues, tables.ISSUES))
    test = table.iloc[[3, 7, 11]]
    chances = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    write_predictions(files.predictions, Predictions.record(test, LABELS, chances, chances))
    write_json(files.evaluation, {"classes": list(LABELS)})
    broken = [{"path": "bee/broken.jpg", "reason": "truncated", "detail": "it ends too early"}]
    write_rejected(files.rejected, frame(broken, REJECTED))


def review(folder: Path) -> Review:
    files = paths(folder)
    known = read_known(files)
    decisions = Decisions(folder / "data/corrections.csv", known)
    return Review(files, known, queues(files, known), decisions)

"""A run's files made by hand, in a second: what the report reads, without TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from ruamel.yaml import YAML

from headstart._utils.files import sha256_bytes, write_json, write_text
from headstart.audit.tables import CLASSES, CURVE, ISSUES, OUTLIERS, write
from headstart.backbones.record import (
    NETWORK,
    WEIGHTS,
    BackboneRecord,
    write_backbone,
)
from headstart.datasets.manifests import REJECTED, SPLIT, frame, write_rejected, write_split
from headstart.datasets.shards import ShardWriter, shard_of
from headstart.evaluation.evaluate import calibration_table, summarize
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.predictions import Predictions, write_predictions
from headstart.images.thumbnails import ThumbnailFolder
from headstart.report.run import Files
from headstart.training.history import BATCHES, EPOCHS, write_batches, write_epochs
from tests.training import models

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"
#: What strangers call their classes.
HOSTILE = (
    "\"quoted\" & 'single'",
    "<script>document.title='owned'</script>",
    "x" * 300,
    "\u202egnirts\u202c",
    "{{ 7 * 7 }} {% for %}",
    "$\\frac{1}{2}$_{sub}",
    "שלום עולם",
    "قطة",
    "猫🐈‍⬛",
)


@dataclass(frozen=True)
class Plan:
    """What is to be made. ``absent``: classes without a test image."""

    classes: Sequence[str] = ("ant", "bee", "cat")
    each: int = 6
    side: tuple[int, int] = (48, 32)
    absent: Sequence[str] = ()
    wrong: float = 0.3
    tuned: bool = False
    random_weights: bool = False
    epochs: int = 4
    tuning: int = 0
    rejected: Sequence[tuple[str, str, str]] = ()
    formats: Mapping[str, Any] = field(default_factory=dict)
    environment: bool = True
    audited: bool = True
    corrections: Mapping[str, Any] = field(default_factory=dict)
    because: str = "accuracy 0.5 -> 0.6"


def make(folder: Path, plan: Plan | None = None, **changes: Any) -> Files:
    """Write the files of a run."""
    plan = replace(plan or Plan(), **changes)
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        images=folder / "images",
        manifest=folder / "sample.csv",
        rejected=folder / "rejected.csv",
        rejected_images=folder / "rejected",
        split_metrics=folder / "split.json",
        backbone_folder=folder / "backbone",
        head_epochs=folder / "head_epochs.csv",
        head_batches=folder / "head_batches.csv",
        fine_tune_epochs=folder / "fine_tune_epochs.csv",
        predictions=folder / "predictions.csv",
        metrics=folder / "evaluate.json",
        calibration=folder / "calibration.csv",
        export_folder=folder / "export",
        export_metrics=folder / "export.json",
        label_issues=folder / "label_issues.csv",
        outliers=folder / "outliers.csv",
        audit_classes=folder / "audit_classes.csv",
        learning_curve=folder / "learning_curve.csv",
        audit_metrics=folder / "audit.json",
        run_statistics=folder / "run_statistics",
    )
    images = _images(files, plan)
    corrected = {"corrections": dict(plan.corrections)} if plan.corrections else {}
    write_json(files.split_metrics, {"images": {}, **corrected})
    _scores(files, plan, images)
    _histories(files, plan)
    _rest(files, plan)
    _audit(files, plan, images)
    return files


def options(files: Files) -> dict[str, Path]:
    """The files as a stage's arguments."""
    return dict(vars(files))


def image(number: int, side: tuple[int, int]) -> bytes:
    generator = np.random.Generator(np.random.Philox(key=number))
    stream = io.BytesIO()
    noise = generator.integers(0, 255, (side[1], side[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def _images(files: Files, plan: Plan) -> pd.DataFrame:
    rows, number = [], 0
    files.images.mkdir()
    with ShardWriter(files.images) as writer:
        for label in plan.classes:
            for split, count in (("train", plan.each), ("validation", 1), ("test", plan.each)):
                for _ in range(0 if split == "test" and label in plan.absent else count):
                    number += 1
                    content = image(number, plan.side)
                    writer.add(content, "png")
                    image_id = sha256_bytes(content)
                    rows.append(
                        {
                            "image_id": image_id,
                            "path": f"data/{label}/{number:05}.png",
                            "label": label,
                            "predefined_split": "",
                            "width": plan.side[0],
                            "height": plan.side[1],
                            "format": "png",
                            "bytes": len(content),
                            "group": "",
                            "shard": shard_of(image_id),
                            "split": split,
                        }
                    )
        places = writer.finish()
    whole = [{**row, "offset": places[str(row["image_id"])].offset} for row in rows]
    table = frame(whole, SPLIT).sort_values("path").reset_index(drop=True)
    write_split(files.manifest, table)
    return table


def _scores(files: Files, plan: Plan, images: pd.DataFrame) -> None:
    classes = tuple(sorted(plan.classes))
    record = models.record(
        classes=classes,
        kind="head",
        head=({"kind": "dense", "units": len(classes), "activation": "softmax"},),
    )
    test = images[images["split"] == "test"].reset_index(drop=True)
    labels = np.array([classes.index(label) for label in test["label"]], np.int64)
    head = _outputs(labels, len(classes), plan.wrong, 1)
    model = _outputs(labels, len(classes), plan.wrong / 2, 2) if plan.tuned else head
    predictions = Predictions.record(test, classes, head, model)
    params = EvaluateParams(top_k=2, calibration_bins=10)
    facts = {
        "kind": "fine_tuned" if plan.tuned else "head",
        "random_weights": plan.random_weights,
        "chosen_because": plan.because,
    }
    final = record.model_copy(update={"kind": facts["kind"]})
    write_json(files.metrics, summarize(predictions, images, record, final, params) | facts)
    write_predictions(files.predictions, predictions)
    calibration = calibration_table(predictions, classes, 10)
    write_text(files.calibration, calibration.to_csv(index=False, lineterminator="\n"))


def _outputs(labels: Any, classes: int, wrong: float, key: int) -> Any:
    generator = np.random.Generator(np.random.Philox(key=key))
    logits = generator.normal(size=(len(labels), classes))
    said = np.where(generator.random(len(labels)) < wrong, (labels + 1) % classes, labels)
    logits[np.arange(len(labels)), said] += generator.uniform(1, 9, len(labels))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares.astype(np.float32)


def _histories(files: Files, plan: Plan) -> None:
    for path, count in ((files.head_epochs, plan.epochs), (files.fine_tune_epochs, plan.tuning)):
        epoch = np.arange(1, count + 1)
        columns = {
            "epoch": epoch, "loss": 1 / (epoch + 0.5), "accuracy": 1 - 1 / (epoch + 1.0),
            "val_loss": 1 / (epoch + 0.3), "val_accuracy": 1 - 1 / (epoch + 1.5),
            "learning_rate": np.full(count, 0.001),
        }  # fmt: skip
        write_epochs(path, pd.DataFrame(columns)[list(EPOCHS)])
    step = np.arange(1, 5 * plan.epochs + 1)
    columns = {"step": step, "epoch": (step + 4) // 5, "loss": 2 / step, "accuracy": 0 * step}
    write_batches(files.head_batches, pd.DataFrame(columns)[list(BATCHES)])


def _rest(files: Files, plan: Plan) -> None:
    rows = [dict(zip(REJECTED, row, strict=True)) for row in plan.rejected]
    write_rejected(files.rejected, frame(rows, REJECTED))
    files.rejected_images.mkdir()
    album, stream = ThumbnailFolder(files.rejected_images), io.BytesIO()
    Image.new("RGB", (30, 20), (200, 30, 90)).save(stream, "JPEG")
    for path, reason, _ in plan.rejected:
        if reason == "truncated":
            album.add(path, reason, stream.getvalue())
    files.backbone_folder.mkdir()
    for name in (WEIGHTS, NETWORK):
        (files.backbone_folder / name).write_bytes(name.encode())
    write_backbone(files.backbone_folder, _backbone(plan))
    (files.export_folder / "saved_model").mkdir(parents=True)
    (files.export_folder / "model.keras").write_bytes(b"k" * 2000)
    (files.export_folder / "saved_model/saved_model.pb").write_bytes(b"s" * 3_000_000)
    agreement = {"probability_differs_at_most": 1e-6, "same_first_guess": 9}
    formats = {"keras": {"pixels": {**agreement, "same_first_guess_share": 1.0}}, **plan.formats}
    write_json(files.export_metrics, {"formats": formats, "images": 9, "refused": 0})
    if plan.environment:
        _statistics(files.run_statistics)


def _audit(files: Files, plan: Plan, images: pd.DataFrame) -> None:
    classes = sorted(plan.classes)
    rows = images.head(5 * plan.audited).reset_index(drop=True).assign(rank=lambda t: t.index + 1)
    issues = rows.assign(
        suggested=[classes[(classes.index(label) + 1) % len(classes)] for label in rows["label"]],
        kind="wrong label", doubt=9.0, wrong=0.97, expected_precision=0.95,
    )  # fmt: skip
    write(files.label_issues, issues[list(ISSUES)].astype(dict(ISSUES)))
    outliers = rows.assign(distance=2.5, outlier=1)
    write(files.outliers, outliers[list(OUTLIERS)].astype(dict(OUTLIERS)))
    overlaps = [
        {
            "label": name, "images": 7, "too_small": 1, "wrong_labels": 1,
            "overlaps_with": classes[0], "confused": 3, "overlap": 0.2, "overlapping": 1,
        }
        for name in classes * plan.audited
    ]  # fmt: skip
    write(files.audit_classes, frame(overlaps, CLASSES))
    points = [
        {"kind": kind, "images": 10 * 2**n, "accuracy": 0.7 + n / 50, "low": 0.6, "high": 0.9}
        for n, kind in enumerate(["measured"] * 4 + ["forecast"] * 3)
    ]
    write(files.learning_curve, frame(points * plan.audited, CURVE))
    issue_counts = {
        "wrong_labels": len(issues), "near_another_class": 0, "wrong_labels_expected": 5.2,
    }  # fmt: skip
    metrics = {
        "images": len(images), "label_issues": issue_counts, "outliers": len(outliers),
        "drift": {"auroc": 0.9, "p": 0.005},
    }  # fmt: skip
    write_json(files.audit_metrics, metrics if plan.audited else {"images": 0})


def _backbone(plan: Plan) -> BackboneRecord:
    return models.backbone(
        weights="random" if plan.random_weights else "imagenet",
        random_weights=plan.random_weights,
        weights_sha256=sha256_bytes(WEIGHTS.encode()),
        tflite_sha256=sha256_bytes(NETWORK.encode()),
    )


def _statistics(folder: Path) -> None:
    entry = {"stage": "extract_features", "run": "another", "seconds": 3.0, "passes_done": 5}
    write_json(folder / "extract_features.json", {**entry, "seconds_per_pass": 0.01})
    row = {"stage": "extract_features", "ran": True, "passes_done": 5, "passes_cached": 20}
    write_json(
        folder / "runtime.json",
        {
            "passes_done": 5, "passes_cached": 20, "seconds": 36.0, "feature_rows": 25,
            "stages": [{**row, "seconds": 36.0}],
        },
    )  # fmt: skip
    write_json(
        folder / "environment.json",
        {
            "python": "3.12.1", "implementation": "CPython", "system": "Linux", "libc": "glibc",
            "machine": "x86_64", "cpu": "A CPU <of> some kind", "cpu_flags": ["avx2"], "cores": 4,
            "one_dnn": "default", "variables": {"XLA_FLAGS": "<b>"}, "packages": {"numpy": "2.4"},
        },
    )  # fmt: skip


def params_file(path: Path, **sections: Mapping[str, Any]) -> Path:
    """The project's params.yaml with some values of sections changed."""
    yaml = YAML(typ="rt")
    document = yaml.load(PARAMS.read_text(encoding="utf-8"))
    for section, values in sections.items():
        document[section].update(values)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return path

"""Evaluate both models on the whole test split: predictions, metrics, calibration, confusions.

The head-only model reads the recorded features. A fine-tuned one takes the activations at its cut
from the store and runs the layers above. TensorFlow is not needed for either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.progress import progress
from headstart.backbones.litert import LiteRTPool
from headstart.datasets.advice import Known, advice, by_class
from headstart.datasets.shards import ShardReader
from headstart.evaluation import metrics
from headstart.evaluation.calibration import calibration
from headstart.evaluation.metrics import Scored
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.predictions import Predictions, indices
from headstart.features.extraction import Passes
from headstart.features.folder import Features
from headstart.features.forward_passes import Cluster
from headstart.features.store import row_bytes
from headstart.training import activations
from headstart.training.head import activate, apply_head, head_logits, output_activation
from headstart.training.model_folder import LOWER, UPPER, ModelRecord, read_head, read_model


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`.

    Attributes
    ----------
    predictions : Predictions
    metrics : dict
        Of both models, with the facts that they rest on; JSON values.
    confusion, calibration : DataFrame
        Of the final model, for plots.
    passes : Passes or None
        Through the frozen part of a fine-tuned backbone.
    """

    predictions: Predictions
    metrics: dict[str, Any]
    confusion: pd.DataFrame
    calibration: pd.DataFrame
    passes: Passes | None


def evaluate(
    features: Features,
    manifest: pd.DataFrame,
    images: Path,
    head: Path,
    model: Path,
    params: EvaluateParams,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Run both models on the test split and measure what they predict.

    Parameters
    ----------
    features : Features
        Recorded features of the backbone.
    manifest : DataFrame
        All images in use, with their split.
    images : Path
        Folder of shards; read for a fine-tuned model only.
    head, model : Path
        Folders of the head-only and of the final model.
    params : EvaluateParams
    cluster : Cluster, optional
        Its workers run the frozen part of a fine-tuned model.

    Raises
    ------
    HeadstartError
        If the files come from different runs.
    """
    test = manifest[manifest["split"] == "test"].reset_index(drop=True)
    head_record, record = read_model(head), read_model(model)
    check(features, test, head_record, head)
    check(features, test, record, model)
    cached, passes = features.gathered("test"), None
    if record.kind == "head":
        final = _by_head(model, record, cached)
    else:
        final, passes = by_fine_tuned(model, record, images, test, cluster)
    found = Predictions.record(test, record.classes, _by_head(head, head_record, cached), final)
    return Evaluation(
        found,
        summarize(found, manifest, head_record, record, params),
        confusion_table(found),
        calibration_table(found, record.classes, params.calibration_bins),
        passes,
    )


def check(features: Features, test: pd.DataFrame, record: ModelRecord, folder: Path) -> None:
    """Refuse files that do not belong together.

    Raises
    ------
    HeadstartError
        Naming the files and what differs.
    """
    header, rows = features.header, features.rows("test")
    same_rows = all(list(rows[name]) == list(test[name]) for name in ("image_id", "label"))
    faults = {
        f"the test rows of {features.folder} are not those of the manifest": not same_rows,
        f"{folder} has other classes than {features.folder}": record.classes != header.classes,
        f"{folder} has another backbone than {features.folder}": (
            record.backbone != header.backbone
        ),
        f"the head of {folder} reads features of shape {record.feature_shape}, "
        f"{features.folder} has {header.feature_shape}": (
            record.feature_shape != header.feature_shape
        ),
    }
    for fault, applies in faults.items():
        if applies:
            raise HeadstartError(
                f"Nothing was evaluated: {fault}. They come from different runs; `dvc repro` "
                "makes them match."
            )


def _by_head(
    folder: Path, record: ModelRecord, features: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float32]:
    return apply_head(record.head, read_head(folder, record), features)


def by_fine_tuned(
    folder: Path,
    record: ModelRecord,
    images: Path,
    rows: pd.DataFrame,
    cluster: Cluster | None = None,
) -> tuple[npt.NDArray[np.float32], Passes]:
    """Run a fine-tuned model on images, through the feature store.

    Parameters
    ----------
    folder : Path
        Of a model of kind ``fine_tuned``.
    record : ModelRecord
    images : Path
        Folder of shards.
    rows : DataFrame
        Rows of a manifest, in the order of the result.
    cluster : Cluster, optional
        Its workers run the frozen part.

    Returns
    -------
    probabilities : ndarray of shape (n, n_classes), float32
    passes : Passes
        Through the frozen part.

    Raises
    ------
    HeadstartError
        If the store's disk has no room for the activations that it lacks; or as
        :func:`headstart.features.extraction.extract`.
    """
    weights = read_head(folder, record)
    lower, upper = folder / LOWER, folder / UPPER
    # Where all layers were trained, the upper network is the whole backbone. Its features are
    # cached all the same: a second evaluation then costs no pass.
    first, second = (lower, upper) if lower.exists() else (upper, None)
    size, bits = record.backbone.image_size, record.backbone.gray16_bits
    ids = list(rows["image_id"])
    blocks = []
    with activations.open_store(first, size, bits) as store:
        activations.check_room(store, ids)
        with ShardReader(images) as reader:
            desc = "Activations of the test images"
            passes = activations.fill(store, first, rows, reader, size, bits, desc, cluster)
        block = activations.rows_at_once(row_bytes(store.shape))
        top = None if second is None else LiteRTPool(second)
        with progress(len(rows), "Classifying", "image") as bar:
            for start in range(0, len(rows), block):
                features = store.array(ids[start : start + block])
                if top is not None:
                    features = activations.run_network(top, features)
                if features.shape[1:] != record.feature_shape:
                    raise CorruptFileError(
                        f"The networks of {folder} give features of shape {features.shape[1:]}, "
                        f"its head reads {record.feature_shape}. Run the stage fine_tune again."
                    )
                blocks.append(head_logits(record.head, weights, features))
                bar.update(len(features))
    logits = np.concatenate(blocks)
    return activate(output_activation(record.head), logits), passes


def summarize(
    predictions: Predictions,
    manifest: pd.DataFrame,
    head_record: ModelRecord,
    record: ModelRecord,
    params: EvaluateParams,
) -> dict[str, Any]:
    """Return the content of ``evaluate.json``: a function of recorded predictions and records.

    Parameters
    ----------
    predictions : Predictions
    manifest : DataFrame
        All images in use, with their split.
    head_record, record : ModelRecord
        Of the head-only and of the final model.
    params : EvaluateParams
    """
    counts = manifest["split"].value_counts()
    labels = indices(predictions.rows["label"], record.classes)

    def measured(model: ModelRecord, probabilities: npt.NDArray[np.float64]) -> dict[str, Any]:
        activation = output_activation(model.head)
        scored = Scored(labels, probabilities, activation, params.top_k, params.calibration_bins)
        return metrics.measure(scored, model.classes)

    return {
        # Without fine-tuning the final model is the head-only one, and is listed once.
        **({} if record.kind == "head" else {"head": measured(head_record, predictions.head)}),
        "model": measured(record, predictions.model),
        "kind": record.kind,
        "chosen_because": record.chosen_because,
        "test_images": int(counts.get("test", 0)),
        "train_images": int(counts.get("train", 0)),
        "validation_images": int(counts.get("validation", 0)),
        "classes": list(record.classes),
        "advice": advice(Known(by_class(manifest), math.prod(record.feature_shape))),
        "weights": record.backbone.weights,
        "random_weights": record.backbone.random_weights,
    }


def confusion_table(predictions: Predictions) -> pd.DataFrame:
    """Return a row per image, ``actual`` and ``predicted``: DVC's confusion template counts."""
    rows = predictions.rows[["label", "predicted"]]
    return rows.set_axis(["actual", "predicted"], axis=1)


def calibration_table(predictions: Predictions, classes: Sequence[str], bins: int) -> pd.DataFrame:
    """Return a row for each bin of confidence that holds images; bins count from 1."""
    labels = indices(predictions.rows["label"], classes)
    found = calibration(predictions.model, labels, bins)
    table = pd.DataFrame(
        {
            "bin": np.arange(1, bins + 1),
            "confidence": found.confidence.round(metrics.DIGITS),
            "accuracy": found.accuracy.round(metrics.DIGITS),
            "count": found.count,
        }
    )
    return table[table["count"] > 0]

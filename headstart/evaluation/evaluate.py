"""Both models on the whole test split: scores, predictions, calibration, and what the run cost.

The head-only model reads the recorded features. A fine-tuned one takes the activations at its cut
from the store and runs the layers above. TensorFlow is not needed for either.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart.evaluation import metrics as measures
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.predictions import Predictions
from headstart.features.folder import Features
from headstart.training.classifier import Outputs, fine_tuned_outputs, head_outputs
from headstart.training.head_layers import output_activation
from headstart.training.model_folder import ModelRecord
from headstart.training.scores import mean_loss

_CONFUSIONS = 20  # pairs of classes that are named in the metrics


ENVIRONMENT = "environment.json"


def check(recorded: Features, test: pd.DataFrame, record: ModelRecord, folder: Path) -> None:
    """Refuse files that do not belong together.

    Raises
    ------
    HeadstartError
        Naming the files and what differs.
    """
    header, rows = recorded.header, recorded.rows("test")
    base = record.backbone.model_dump()
    random_weights = base.pop("random_weights")
    same_rows = all(list(rows[name]) == list(test[name]) for name in ("image_id", "label"))
    faults = {
        f"the test rows of {recorded.folder} are not those of the manifest": not same_rows,
        f"{folder} has other classes than {recorded.folder}": record.classes != header.classes,
        f"{folder} stands on another backbone than {recorded.folder}": (
            base != header.backbone or random_weights != header.random_weights
        ),
        f"the head of {folder} reads features of shape {record.feature_shape}, "
        f"{recorded.folder} has {header.feature_shape}": (
            record.feature_shape != header.feature_shape
        ),
    }
    for fault, is_so in faults.items():
        if is_so:
            raise HeadstartError(
                f"Nothing was evaluated: {fault}. They come from different runs; `dvc repro` "
                "brings them together."
            )


def final_outputs(
    folder: Path, record: ModelRecord, recorded: Features, images: Path, test: pd.DataFrame
) -> Outputs:
    """Outputs of the final model, whichever kind it is."""
    if record.kind == "head":
        return head_outputs(folder, record, recorded.array("test"))
    return fine_tuned_outputs(folder, record, images, test)


def scores(
    outputs: Outputs, labels: npt.NDArray[np.int64], record: ModelRecord, params: EvaluateParams
) -> dict[str, Any]:
    """Everything that is measured of one model, as JSON values.

    ``accuracy`` is that of the first guess, whatever the activation. With a sigmoid for each class
    the share of single outputs that are right stands beside it, and that of no to every class.

    Lists (classes, confusions) are kept from DVC's tables of metrics by being lists.
    """
    n, guesses = len(labels), outputs.probabilities.argmax(axis=1)
    right = int((guesses == labels).sum())
    low, high = measures.wilson_interval(right, n)
    confusion = measures.confusion_matrix(labels, guesses, len(record.classes))
    classes = measures.per_class(confusion)
    k = min(params.top_k, len(record.classes))
    calibrated = measures.calibration(outputs.probabilities, labels, params.calibration_bins)
    activation = output_activation(record.head)
    alone = {}
    if activation == "sigmoid":
        none = 1 - 1 / len(record.classes)
        found = measures.binary_accuracy(outputs.probabilities, labels)
        alone = {"binary_accuracy": found, "binary_accuracy_of_saying_no": none}
    return {
        "loss": mean_loss(outputs.logits, labels, activation),
        **alone,
        "right": right,
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "top_k": k,
        "top_k_accuracy": measures.top_k_hits(outputs.probabilities, labels, k) / n,
        "macro_f1": float(classes.f1[classes.support > 0].mean()),
        "expected_calibration_error": calibrated.error,
        "per_class": [
            {
                "label": name,
                "precision": float(classes.precision[i]),
                "recall": float(classes.recall[i]),
                "f1": float(classes.f1[i]),
                "support": int(classes.support[i]),
            }
            for i, name in enumerate(record.classes)
        ],
        "most_confused": most_confused(confusion, record.classes),
    }


def most_confused(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of label and wrong guess that occur most often."""
    wrong = confusion - np.diag(np.diag(confusion))
    pairs = sorted((-int(wrong[i, j]), int(i), int(j)) for i, j in np.argwhere(wrong))
    return [
        {"actual": classes[i], "predicted": classes[j], "count": -count}
        for count, i, j in pairs[:_CONFUSIONS]
    ]


def facts(record: ModelRecord, images: pd.DataFrame) -> dict[str, Any]:
    """What the scores rest on."""
    counts = images["split"].value_counts()
    return {
        "kind": record.kind,
        "chosen_because": record.chosen_because,
        "test_images": int(counts.get("test", 0)),
        "train_images": int(counts.get("train", 0)),
        "validation_images": int(counts.get("validation", 0)),
        "classes": list(record.classes),
        "weights": record.backbone.weights,
        "random_weights": record.backbone.random_weights,
    }


def predicted(
    test: pd.DataFrame, classes: Sequence[str], head_only: Outputs, final: Outputs
) -> Predictions:
    """The rows of predictions.csv."""
    rows = test[["image_id", "path", "label"]].assign(predicted=first_guesses(final, classes))
    return Predictions(rows, head_only.probabilities, final.probabilities)


def first_guesses(outputs: Outputs, classes: Sequence[str]) -> list[str]:
    """The most probable class of each image; of equal ones the first."""
    return [classes[i] for i in outputs.probabilities.argmax(axis=1)]


def confusion_csv(labels: pd.Series[str], classes: Sequence[str], final: Outputs) -> str:
    """A row an image: DVC's confusion template counts them itself."""
    guesses = first_guesses(final, classes)
    table = pd.DataFrame({"actual": list(labels), "predicted": guesses})
    return table.to_csv(index=False, lineterminator="\n")


def calibration_csv(final: Outputs, labels: npt.NDArray[np.int64], bins: int) -> str:
    """A row for each bin of confidence that holds images; bins count from 1."""
    found = measures.calibration(final.probabilities, labels, bins)
    table = pd.DataFrame(
        {
            "bin": np.arange(1, bins + 1),
            "confidence": found.confidence,
            "accuracy": found.accuracy,
            "count": found.count,
        }
    )
    return table[table["count"] > 0].to_csv(index=False, lineterminator="\n")

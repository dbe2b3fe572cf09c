"""The content of the model card: data, procedure, results and limits of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import ConfigDict, Field

from headstart._utils.errors import CorruptFileError
from headstart._utils.records import Facts, read_facts
from headstart.backbones.record import BackboneRecord
from headstart.evaluation.metrics import listed
from headstart.export.record import activation_of, license_of
from headstart.stage.sections import Section
from headstart.training.model_folder import ModelRecord

FORMAT = 1
_DIGITS = 4  # of a metric
_OF_THE_BACKBONE = {
    "alpha", "weights", "weights_sha256", "origin", "random_weights", "image_size", "cut",
    "pooling", "gray16_bits",
}  # fmt: skip
_COMMIT = (
    "Not inside: the commit records this folder, so the folder cannot name it. `sha256sum "
    "model.json` prints a number that data/metrics/export.json holds as `model_sha256`; in the "
    "project, `git log --oneline -S NUMBER -- data/metrics/export.json` names the commit."
)


class _Counts(Facts):
    model_config = ConfigDict(extra="ignore")  # the card states these alone
    files: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    duplicates: Annotated[int, Field(ge=0)]
    label_conflicts: Annotated[int, Field(ge=0)]
    rejected: Annotated[int, Field(ge=0)]
    rejected_by_reason: dict[str, int]


def read_counts(path: Path) -> dict[str, Any]:
    """Read the counts of the files found, kept and rejected.

    Raises
    ------
    CorruptFileError
        If one is absent, or they do not add up.
    """
    again = "`dvc repro --force --single-item download` writes it again."
    counts = read_facts(path, _Counts, again)
    reasons = sum(counts["rejected_by_reason"].values())
    if counts["files"] != counts["kept"] + counts["rejected"] or counts["rejected"] != reasons:
        raise CorruptFileError(
            f"{path} does not add up: {counts['files']:,} files, {counts['kept']:,} kept, "
            f"{counts['rejected']:,} rejected, {reasons:,} of them by a reason. {again}"
        )
    return counts


@dataclass(frozen=True)
class Data:
    """The data that the model was made of, and its evaluation.

    Attributes
    ----------
    table : DataFrame
        The manifest of the images in use, with ``split`` and ``label``.
    download : mapping
        ``data/metrics/download.json``: the files found, kept and rejected.
    corrections : mapping
        Counts of what people corrected, by action; empty without corrections.
    evaluation : mapping
        ``data/metrics/evaluate.json``.
    """

    table: pd.DataFrame
    download: Mapping[str, Any]
    corrections: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def procedure(seed: int, sections: Mapping[str, Section]) -> dict[str, Any]:
    """Return the parameters that the card states, without those that had no effect."""
    values: dict[str, Any] = {name: section.model_dump() for name, section in sections.items()}
    named = ("source", "url", "sha256", "name")
    values["download"] = {name: values["download"][name] for name in named}
    if not values["extract_features"]["views"]:
        del values["extract_features"]["augment"]
    if not values["fine_tune"]["epochs"]:
        values["fine_tune"] = {"epochs": 0}
    return {"seed": seed, **values}


def card(
    record: ModelRecord,
    backbone: BackboneRecord,
    data: Data,
    procedure: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``model_card.json``.

    Parameters
    ----------
    record : ModelRecord
    backbone : BackboneRecord
    data : Data
    procedure : mapping
        Parameters by section.
    summary : mapping
        The export's own metrics.
    """
    evaluation = data.evaluation
    return {
        "format": FORMAT,
        "classes": list(record.classes),
        "model": _model(record, backbone),
        "data": _images(data),
        "procedure": dict(procedure),
        "results": {
            "test_images": evaluation["test_images"],
            **_metrics(evaluation["model"]),
            "per_class": [
                {key: _round(value) for key, value in row.items()}
                for row in evaluation["model"]["per_class"]
            ],
            **({} if record.kind == "head" else {"head_only": _metrics(evaluation["head"])}),
        },
        "formats": summary["formats"],
        "parity_images": summary["images"],
        "intended_use": _intended_use(record),
        "limits": _limits(record, evaluation["test_images"]),
        "commit": _COMMIT,
    }


def _model(record: ModelRecord, backbone: BackboneRecord) -> dict[str, Any]:
    return {
        **backbone.model_dump(include=_OF_THE_BACKBONE),
        "kind": record.kind,
        "backbone": backbone.name,
        "license": license_of(backbone),
        "parameters_of_the_backbone": backbone.parameters,
        "head": list(record.head),
        "trained_from_layer": record.unfrozen_from,
        "trained_that_layer_alone": record.unfrozen_alone,
        "chosen_because": record.chosen_because,
    }


def _images(data: Data) -> dict[str, Any]:
    used: dict[str, dict[str, int]] = {}
    for split, part in data.table.groupby("split"):
        counts = part["label"].value_counts()
        used[str(split)] = {str(label): int(count) for label, count in counts.items()}
    corrected = {"corrections": dict(data.corrections)} if data.corrections else {}
    return {**data.download, **corrected, "images": used}


def _metrics(recorded: Mapping[str, Any]) -> dict[str, Any]:
    keys = ["correct", "accuracy_low", "accuracy_high"]
    keys += ["top_k"] if "top_k" in recorded else []
    keys += [metric.key for metric in listed("card", recorded)]
    return {key: _round(recorded[key]) for key in keys}


def _round(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _intended_use(record: ModelRecord) -> list[str]:
    purpose = (
        f"Distinguishing {len(record.classes)} classes in images like the training images: the "
        "same kinds of objects, cameras, framing and light."
    )
    return [
        purpose,
        "A first suggestion, to be confirmed by a person or another check if a mistake matters.",
    ]


def _limits(record: ModelRecord, images: int) -> list[str]:
    outputs = (
        "Each class has a probability of its own; none of them, or several, may be high."
        if activation_of(record) == "sigmoid"
        else "It always predicts one of its classes, even for an image that shows none of them."
    )
    metrics = (
        f"Its metrics come from {images} test images of the same source as the training images. "
        "The interval covers chance in the choice of these images, not other kinds of images."
    )
    untested = (
        "It has not learned anything that the training images do not show. Nothing was "
        "measured for subgroups of a class, for deliberate deception, or for changes over time."
    )
    backbone = (
        "The backbone was trained by others on images that were not examined here, and may carry "
        "over their biases."
    )
    return [outputs, metrics, untested, backbone]

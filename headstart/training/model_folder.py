"""A model folder: what the model is, its classes, its weights, and the sha256 of every file.

Files: ``model.json`` (:class:`ModelRecord` and the sha256 of the others), ``labels.json``,
``head.npz``; for a fine-tuned model also ``backbone.weights.h5`` (the whole backbone),
``upper.tflite`` and, unless the whole backbone was unfrozen, ``lower.tflite``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_file, write_json
from headstart._utils.records import Record, Sha256, read_record
from headstart.backbones.record import WEIGHTS, BackboneSummary
from headstart.backbones.weights import Weights, read_npz, write_npz
from headstart.training.head import LayerSpec, check_spec, class_count, weight_shapes
from headstart.training.labels import read_labels, write_labels

FORMAT = 1
BACKBONE_WEIGHTS = WEIGHTS  # load_backbone finds it in a model folder by the same name
LOWER = "lower.tflite"
UPPER = "upper.tflite"
_RECORD, _LABELS, _HEAD = "model.json", "labels.json", "head.npz"
_AGAIN = "Run the stage that makes the model again."
_NEEDED = {
    "head": {_LABELS, _HEAD},
    "fine_tuned": {_LABELS, _HEAD, BACKBONE_WEIGHTS, UPPER},
}
_ALLOWED = {"head": _NEEDED["head"], "fine_tuned": _NEEDED["fine_tuned"] | {LOWER}}


class Scores(Record):
    """Loss and accuracy on the validation split."""

    loss: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    accuracy: Annotated[float, Field(ge=0, le=1)]


class ModelRecord(Record):
    """The content of a model folder.

    Attributes
    ----------
    kind : "head" | "fine_tuned"
        A head on the pretrained backbone, or a backbone with a trained top and its head.
    classes : tuple of str
        Sorted; the order of the outputs.
    feature_shape : tuple of int
        Shape of the head's input, without the batch.
    head : tuple of dict
        Layers, see :mod:`headstart.training.head`.
    chosen_because : str
        The reason for choosing these weights, as a sentence.
    unfrozen_from : str or None
        Name of the first layer that was trained; None for a head.
    unfrozen_alone : bool
        True if that layer was the only one of the backbone, with frozen ones above it.
    class_weights : "none" | "balanced"
        The weights of the classes in training, which fine-tuning uses too.
    calibration : "temperature" | "none"
        Whether the outputs are divided by a temperature, which fine-tuning fits again.
    """

    kind: Literal["head", "fine_tuned"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    feature_shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    head: tuple[LayerSpec, ...]
    backbone: BackboneSummary
    validation: Scores
    chosen_because: str
    unfrozen_from: str | None = None
    unfrozen_alone: bool = False
    class_weights: Literal["none", "balanced"] = "none"
    calibration: Literal["temperature", "none"] = "none"

    @field_validator("head")
    @classmethod
    def _is_a_head(cls, layers: tuple[LayerSpec, ...]) -> tuple[LayerSpec, ...]:
        return tuple(check_spec(layers))

    @model_validator(mode="after")
    def _agrees(self) -> ModelRecord:
        known = class_count(self.head)
        if known != len(self.classes):
            raise ValueError(f"the head distinguishes {known} classes, not {len(self.classes)}")
        weight_shapes(self.head, self.feature_shape)
        if self.unfrozen_alone and self.unfrozen_from is None:
            raise ValueError("a single layer was trained, but unfrozen_from does not name it")
        return self

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of every array of ``head.npz``."""
        return weight_shapes(self.head, self.feature_shape)


class _File(ModelRecord):
    format: Literal[1]
    files: Mapping[str, Sha256]


def write_model(folder: Path, record: ModelRecord, weights: Weights) -> None:
    """Write record, labels and head into an existing folder; to be called last.

    The other files that the model's kind needs (``backbone.weights.h5`` …) must lie there already:
    their sha256 goes into ``model.json``. Give it the folder of an ``atomic_folder`` block.

    Raises
    ------
    ValueError
        If weights, kind and files do not fit together: a bug of the caller.
    """
    expected = record.weight_shapes()
    got = {name: array.shape for name, array in weights.items()}
    if got != expected:
        raise ValueError(f"weights {got} do not fit the head, which has {expected}")
    write_labels(folder / _LABELS, record.classes)
    write_npz(folder / _HEAD, weights)
    files = {path.name: sha256_file(path) for path in folder.iterdir() if path.name != _RECORD}
    fault = _files_fault(record.kind, set(files))
    if fault:
        raise ValueError(f"{folder}: {fault}")
    fields = record.model_dump(mode="json")
    write_json(folder / _RECORD, {**fields, "format": FORMAT, "files": files})


def read_model(folder: Path) -> ModelRecord:
    """Read and check a model folder: record, labels, and the sha256 of every file.

    Raises
    ------
    CorruptFileError
        Naming the file and what differs.
    """
    path = folder / _RECORD
    file = read_record(path, _File, _AGAIN)
    there = {entry.name for entry in folder.iterdir()} - {_RECORD}
    fault = _files_fault(file.kind, set(file.files))
    if not fault and there != set(file.files):
        fault = f"lists {sorted(file.files)}, but the folder holds {sorted(there)}"
    if fault:
        raise CorruptFileError(f"{path}: {fault}. {_AGAIN}")
    for name, digest in sorted(file.files.items()):
        if sha256_file(folder / name) != digest:
            raise CorruptFileError(
                f"{folder / name} is not the file that was written: its sha256 is not the one in "
                f"{_RECORD}. {_AGAIN}"
            )
    if read_labels(folder / _LABELS) != list(file.classes):
        raise CorruptFileError(f"{folder / _LABELS} and {path} name different classes.")
    fields: dict[str, Any] = {name: getattr(file, name) for name in ModelRecord.model_fields}
    return ModelRecord(**fields)


def read_head(folder: Path, record: ModelRecord) -> Weights:
    """Return the head's weights, float32, checked against the names and shapes of its layers."""
    return read_npz(folder / _HEAD, record.weight_shapes())


def _files_fault(kind: str, names: set[str]) -> str:
    missing, unknown = sorted(_NEEDED[kind] - names), sorted(names - _ALLOWED[kind])
    parts = [f"{', '.join(missing)} missing"] if missing else []
    parts += [f"{', '.join(unknown)} unknown"] if unknown else []
    return f"a model of kind {kind} with {' and '.join(parts)}" if parts else ""

"""Export a trained model: write each format, reload it in a fresh process, compare, describe.

Every format is loaded again as any user would load it and compared with the evaluated predictions
on the same test images; if one does not agree, nothing is written. All bytes depend on the model
alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.disk import disk_fault
from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_file
from headstart._utils.machine import cores
from headstart.backbones.record import BackboneRecord, read_backbone
from headstart.evaluation.predictions import Predictions
from headstart.export import pages, parity
from headstart.export.card import Data
from headstart.export.card import card as model_card
from headstart.export.formats import FORMATS, FormatName, ordered
from headstart.export.parameters import ExportParams
from headstart.export.parity import Reading, compare
from headstart.export.record import (
    RECORD,
    describe_model,
    license_of,
    summarize_formats,
    write_exported,
)
from headstart.keras.export.reload import Source, reader, resolve
from headstart.keras.networks.engine import engine as running
from headstart.keras.networks.engine import in_batches
from headstart.stage.run_statistics import RunStatistics
from headstart.training.model_folder import ModelRecord, read_head, read_model

if TYPE_CHECKING:
    import pandas as pd

#: Accepted between the evaluated predictions and those of this process from features rounded to
#: float16: the last bit from another CPU or GPU may have been rounded the other way.
_ROUNDED = 0.01
_NO_STANDARD_LAYERS = (
    "it holds standard layers only, and this backbone is a layer of its own; a SavedModel includes "
    "it"
)
_REMOVE_IT = (
    "Nothing was exported. Remove it from export.formats in params.yaml, or choose another "
    "backbone."
)

Floats = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]


class NotConvertibleError(HeadstartError):
    """A converter has no way to express this model."""


@dataclass(frozen=True)
class Model:
    """The trained model as the earlier stages left it."""

    record: ModelRecord
    backbone: BackboneRecord
    folder: Path
    backbone_folder: Path

    @classmethod
    def read(cls, folder: Path, backbone_folder: Path) -> Model:
        """Read and check both folders."""
        return cls(read_model(folder), read_backbone(backbone_folder), folder, backbone_folder)

    @property
    def tuned_folder(self) -> Path | None:
        """Folder of the backbone's fine-tuned weights; None: it has its pretrained ones."""
        return self.folder if self.record.kind == "fine_tuned" else None


@dataclass(frozen=True)
class Shown:
    """The images that every format is run on, as files and as pixels, and those for int8."""

    contents: list[bytes]
    pixels: Pixels
    calibration: Pixels | None


def export_model(
    folder: Path,
    trained: Model,
    predictions: Predictions,
    images: Path,
    data: Data,
    procedure: Mapping[str, Any],
    params: ExportParams,
    run_statistics: RunStatistics,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fill an empty export folder.

    Parameters
    ----------
    folder : Path
    trained : Model
    predictions : Predictions
        The evaluated ones.
    images : Path
        Folder of shards.
    data : Data
        The manifest and the metrics of the run, for the model card.
    procedure : mapping
        Parameters of the run by section (:func:`headstart.export.card.procedure`).
    params : ExportParams
    run_statistics : RunStatistics

    Returns
    -------
    summary : dict
        The metrics of the export, JSON values.
    refused : dict of str to str
        Path of each image that the SavedModel refused, and why.

    Raises
    ------
    HeadstartError
        If a format cannot be written or reloaded, or does not agree.
    """
    chosen = parity.choose(len(predictions.rows), params.parity_images)
    rows = parity.locate(predictions.rows.iloc[chosen], data.table)
    size, bits = trained.backbone.image_size, trained.backbone.gray16_bits
    calibration = None
    if any(FORMATS[name].precision == "int8" for name in params.formats):
        drawn = parity.calibrating(data.table, params.calibration_images, procedure["seed"])
        calibration = parity.load(images, drawn, size, bits)[1]
    shown = Shown(*parity.load(images, rows, size, bits), calibration)
    readings, left_out = write_and_read(folder, trained, params.formats, shown, run_statistics)
    evaluated: Floats = predictions.model[chosen]
    expected = evaluated
    rounds = procedure["extract_features"]["dtype"] == "float16"
    if trained.record.kind == "head" and rounds:
        expected = unrounded(trained, shown.pixels, evaluated)
    found = parity.compared(expected, readings, params)
    run_statistics.note(
        differences={
            name: {way: agreement.difference for way, agreement in ways.items()}
            for name, ways in found.items()
        }
    )
    parity.accept(found, params)
    formats = summarize_formats(folder, found)
    exported = describe_model(trained.record, license_of(trained.backbone), folder, formats)
    write_exported(folder, exported)
    refused = refusals(readings, rows)
    summary: dict[str, Any] = {
        "formats": formats,
        "kind": trained.record.kind,
        "left_out": left_out,
        "model_sha256": sha256_file(folder / RECORD),
        "images": len(rows),
        "probability_difference_accepted": params.max_probability_difference,
        "refused": len(refused),
    }
    if expected is not evaluated:
        summary["rounding"] = compare(evaluated, expected).summary()
        summary["rounded_probability_difference_accepted"] = _ROUNDED
    card = model_card(trained.record, trained.backbone, data, procedure, summary)
    from headstart.keras.export.decoding import NOT_COVERED

    pages.write_pages(folder, exported, summary, card, NOT_COVERED)
    return summary, refused


def write_and_read(
    folder: Path,
    trained: Model,
    names: Sequence[FormatName],
    shown: Shown,
    run_statistics: RunStatistics,
) -> tuple[dict[FormatName, Reading], dict[str, str]]:
    """Write each format; have it loaded in a fresh process, and run on the images.

    Returns
    -------
    readings : dict of str to Reading
        The predictions of each reloaded format.
    left_out : dict of str to str
        The formats that this backbone goes without, and why.
    """
    names = ordered(names)
    left_out: dict[str, str] = {}
    with reader(names, shown.pixels, shown.contents) as fresh:
        clock = _Clock()
        from headstart.keras.runtime import configure

        configure(cores())
        source = Source(
            build(trained),
            trained.record.classes,
            shown.calibration,
            trained.backbone.gray16_bits,
        )
        clock("building")
        for name in sorted(names, key=_waits):
            reason = _write_or_leave_out(name, source, folder, trained.backbone)
            if reason:
                left_out[name] = reason
            else:
                clock(name)
                fresh.read(name, folder / FORMATS[name].path)
        found = fresh.results()
        clock("waiting_for_the_reader")
    readings = {name: found[name] for name in names if name in found}
    run_statistics.note(parts_seconds=clock.seconds)
    if not readings:
        raise HeadstartError(
            f"None of the formats {', '.join(names)} can be made of this model. Nothing was "
            "exported. Add saved_model to export.formats in params.yaml: it holds any backbone."
        )
    return readings, left_out


def _waits(name: FormatName) -> bool:
    """Return False for the files of Keras, which are written first.

    They take a moment, so that the fresh process has work while the others are written.
    """
    return FORMATS[name].library != "keras"


def build(trained: Model, image_size: int | None = None) -> Any:
    """Return the Keras model from pixels to probabilities, perhaps for images of another size."""
    from headstart.keras.export.classifier import classifier

    size = image_size or trained.backbone.image_size
    return classifier(
        trained.backbone.model_copy(update={"image_size": size}),
        trained.backbone_folder,
        trained.tuned_folder,
        trained.record.head,
        read_head(trained.folder, trained.record),
    )


def _write_or_leave_out(
    name: FormatName, source: Source, folder: Path, backbone: BackboneRecord
) -> str | None:
    """Write a format; return the reason where this backbone may go without it."""
    if FORMATS[name].library == "keras" and not backbone.has_layers:
        return _NO_STANDARD_LAYERS
    try:
        write(name, source, folder)
    except NotConvertibleError as error:
        if not may_lack(name, backbone):
            raise HeadstartError(f"{error} {_REMOVE_IT}") from error
        print(f"{error} It is left out.")
        return "LiteRT cannot convert this backbone (extract_features.engine: keras)"
    return None


def write(name: FormatName, source: Source, folder: Path) -> None:
    """Write one format into an export folder.

    ``saved_model`` comes once in a process: it holds names that count what was traced before.

    Raises
    ------
    NotConvertibleError
        If a converter fails.
    """
    each = FORMATS[name]
    try:
        resolve(each.writer)(source, folder / each.path)
    except Exception as error:
        # A full or failing disk says nothing about the model.
        if not each.converted or disk_fault(error) is not None:
            raise
        # Converters raise what they like: ConverterError, ValueError, RuntimeError, KeyError …
        lines = [line.strip() for line in str(error).splitlines()]
        line = (next(filter(None, lines), "") or type(error).__name__)[:300].rstrip(".")
        raise NotConvertibleError(
            f"This model cannot be converted to the format {name}: {line}."
        ) from error


def may_lack(name: FormatName, backbone: BackboneRecord) -> bool:
    """Return whether a format may be left out: the backbone never ran on LiteRT."""
    return FORMATS[name].library == "litert" and backbone.engine == "keras"


def refusals(readings: Mapping[FormatName, Reading], rows: pd.DataFrame) -> dict[str, str]:
    """Return the path of each image that a format refused, and why."""
    return {
        rows["path"].iloc[place]: reason
        for reading in readings.values()
        for place, reason in reading.refused.items()
    }


def unrounded(trained: Model, batch: Pixels, evaluated: Floats) -> Floats:
    """Return the head's probabilities from unrounded features, which an exported model must give.

    Evaluation reads recorded features; with ``extract_features.dtype: float16`` they are rounded,
    which no exported model does. So both are computed here, and the evaluated ones compared.

    Returns
    -------
    ndarray of shape (n, n_classes), float32

    Raises
    ------
    HeadstartError
        If the evaluated predictions are not those of the rounded features.
    """
    from headstart.training.head import apply_head

    record = trained.record
    weights = read_head(trained.folder, record)
    engine = running(trained.backbone_folder, trained.backbone)
    features = in_batches(engine.make(), batch, engine.batch)
    again = apply_head(record.head, weights, features.astype(np.float16))
    difference = compare(evaluated, again).difference
    if not difference <= _ROUNDED:
        raise HeadstartError(
            "The evaluated predictions are not this model's: from features rounded to float16 a "
            f"probability differs by {difference:.3g}, where {_ROUNDED:g} is accepted. Nothing was "
            "exported. If model and predictions come from one run (`dvc repro` ensures it), this "
            "head is too sensitive to rounding: set extract_features.dtype to float32."
        )
    return apply_head(record.head, weights, features)


class _Clock:
    """Seconds of each part, for the run statistics."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now

"""The forms in which the model leaves the project, each reloaded and compared, and their card.

Every form is loaded again in a fresh process, as a stranger would load it, and compared with the
evaluated predictions on the same test pictures; if one does not agree, nothing is written. All
bytes depend on the model alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stages.artifacts.backbone_record import NETWORK, BackboneRecord, read_backbone
from stages.artifacts.exported_model import RECORD, ExportedModel, write_exported
from stages.artifacts.labels import write_labels
from stages.artifacts.manifest import read_split
from stages.artifacts.model_folder import ModelRecord, read_head, read_model
from stages.artifacts.passes import refresh_table
from stages.artifacts.predictions import read_predictions
from stages.core import cli
from stages.core.cli import In, Out, Runtime
from stages.core.errors import HeadstartError
from stages.core.files import atomic_folder, read_json, sha256_file, write_json, write_text
from stages.core.forms import FORMS, FormName
from stages.core.hub import HUB
from stages.core.journal import Journal
from stages.core.machine import KERAS_BATCH, cores
from stages.core.params.download import DownloadParams
from stages.core.params.export import ExportParams
from stages.core.params.extract_features import ExtractFeaturesParams
from stages.core.params.fine_tune import FineTuneParams
from stages.core.params.sample import SampleParams
from stages.core.params.split import SplitParams
from stages.core.params.train_head import TrainHeadParams
from stages.engine.agreement import Agreement, accept, compare, compared
from stages.engine.parity_pictures import calibrating, choose, load, locate
from stages.report.exported import describe, labels_text, license_of
from stages.report.exported_readme import readme
from stages.report.exported_record import describe_model, summarize_forms
from stages.report.model_card import Data, card, markdown

if TYPE_CHECKING:
    import pandas as pd

    from stages.nets.forms.fresh import Reading

#: Accepted between the evaluated predictions and our own from features rounded to float16: a last
#: bit that another CPU or GPU gave may have been rounded the other way.
_ROUNDED = 0.01

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """The trained model as the stages before have left it."""

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
        """Where the base's fine-tuned weights lie; None: it has its pretrained ones."""
        return self.folder if self.record.kind == "fine_tuned" else None


def main(  # noqa: PLR0913, PLR0917 - the model card states the whole procedure
    images: In,
    manifest: In,
    intake: In,
    backbone_folder: In,
    model: In,
    predictions: In,
    evaluation: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    export_folder: Out,
    metrics: Out,
    journal: Journal,
    seed: int,
    download: DownloadParams,
    split: SplitParams,
    sample: SampleParams,
    extract_features: ExtractFeaturesParams,
    train_head: TrainHeadParams,
    fine_tune: FineTuneParams,
    export: ExportParams,
) -> None:
    """Build, write, reload, compare."""
    trained = Model.read(model, backbone_folder)
    predicted = read_predictions(predictions, trained.record.classes)
    chosen = choose(len(predicted.rows), export.parity_pictures)
    table = read_split(manifest)
    rows = locate(predicted.rows.iloc[chosen], table)
    size = trained.backbone.image_size
    shown = Shown(*load(images, rows, size), calibration=None)
    if "tflite_int8" in export.forms:
        training = calibrating(table, export.calibration_pictures, seed)
        shown = replace(shown, calibration=load(images, training, size)[1])
    procedure = {
        "seed": seed,
        "download": download.model_dump(include={"source", "url", "sha256", "name"}),
        "split": split.model_dump(),
        "sample": sample.model_dump(),
        "extract_features": extract_features.model_dump(
            exclude=set() if extract_features.views else {"augment"}
        ),
        "train_head": train_head.model_dump(),
        "fine_tune": fine_tune.model_dump() if fine_tune.epochs else {"epochs": 0},
    }
    with atomic_folder(export_folder) as folder:
        written = write_and_read(folder, trained, export.forms, shown, journal)
        expected = evaluated = predicted.model[chosen]
        if trained.record.kind == "head" and extract_features.dtype == "float16":
            expected = unrounded(trained, shown.pixels, evaluated)
        found = compared(expected, written.readings, export)
        journal.note(differences=exactly(found))
        accept(found, export)
        refused = refusals(written.readings, rows)
        forms = summarize_forms(folder, found)
        exported = describe_model(trained.record, license_of(trained.backbone), folder, forms)
        write_exported(folder, exported)
        summary: dict[str, Any] = {
            "forms": forms,
            "kind": trained.record.kind,
            "left_out": written.left_out,
            "model_sha256": sha256_file(folder / RECORD),
            "pictures": len(rows),
            "probability_difference_accepted": export.max_probability_difference,
            "refused": len(refused),
        }
        if expected is not evaluated:
            summary |= rounding(evaluated, expected)
        data = Data(table, read_json(intake), read_json(evaluation))
        content = card(trained.record, trained.backbone, data, procedure, summary)
        write_pages(folder, exported, summary, content)
    write_json(metrics, summary)
    print(describe(summary, refused))
    refresh_table(journal)


@dataclass(frozen=True)
class Shown:
    """The pictures that every form is run on, as files and as pixels, and those for int8."""

    contents: list[bytes]
    pixels: Pixels
    calibration: Pixels | None


@dataclass(frozen=True)
class Written:
    """What was written: what each form said when it was loaded again, and what was not possible."""

    readings: Mapping[FormName, Reading]
    left_out: dict[str, str] = field(default_factory=dict)


def write_and_read(
    folder: Path,
    trained: Model,
    names: Sequence[FormName],
    shown: Shown,
    journal: Journal,
) -> Written:
    """Write each form; have it loaded again in a process of its own, and run on the pictures."""
    from stages.nets.forms.fresh import readers

    ordered = [name for name in FORMS if name in names]
    left_out: dict[str, str] = {}
    with readers(ordered) as fresh:
        from stages.nets.tf import configure  # isort: skip - while the first reader imports it, too
        from stages.nets import model_io
        from stages.nets.forms import writing

        configure(cores())
        clock = _Clock()
        fresh.show(shown.pixels, shown.contents)
        record = trained.record
        built = model_io.classifier(
            trained.backbone,
            trained.backbone_folder,
            trained.tuned_folder,
            record.head,
            read_head(trained.folder, record),
        )
        source = writing.Source(built, record.classes, shown.calibration)
        clock("building")
        for name in ordered:
            if name in _KERAS_FORMS and trained.backbone.name == HUB:
                left_out[name] = _NO_STANDARD_LAYERS
                continue
            try:
                writing.write(name, source, folder)
            except writing.NotConvertibleError as error:
                if not may_lack(name, trained.backbone):
                    raise HeadstartError(f"{error} {_TAKE_IT_OUT}") from error
                print(f"{error} It is left out.")
                left_out[name] = "LiteRT cannot convert this base (extract_features.engine: keras)"
                continue
            clock(name)
            fresh.read(name, folder / FORMS[name].path)
        readings = fresh.results()
        clock("waiting_for_readers")
    journal.note(parts_seconds=clock.seconds)
    if not readings:
        raise HeadstartError(
            f"None of the forms {', '.join(ordered)} can be made of this model. Nothing was "
            "exported. Add saved_model to export.forms in params.yaml: it holds any base."
        )
    return Written(readings, left_out)


_KERAS_FORMS = ("keras", "h5")
_NO_STANDARD_LAYERS = (
    "it holds standard layers alone, and this base is a module of TensorFlow Hub; a SavedModel has "
    "the module inside"
)
_TAKE_IT_OUT = (
    "Nothing was exported. Take it out of export.forms in params.yaml, or choose another base."
)


def may_lack(name: FormName, backbone: BackboneRecord) -> bool:
    """Whether a form may be left out: the base is one that never ran on LiteRT."""
    return FORMS[name].library == "litert" and backbone.engine == "keras"


def exactly(found: Mapping[FormName, Mapping[str, Agreement]]) -> dict[str, dict[str, float]]:
    """The differences to their last digit, for the journal."""
    return {
        name: {way: agreement.difference for way, agreement in ways.items()}
        for name, ways in found.items()
    }


def write_pages(
    folder: Path,
    exported: ExportedModel,
    summary: Mapping[str, Any],
    content: Mapping[str, Any],
) -> None:
    """Labels, README and model card."""
    write_labels(folder / "labels.json", exported.classes)
    write_text(folder / "labels.txt", labels_text(exported.classes))
    write_text(folder / "README.md", readme(exported, summary, not_covered()))
    write_json(folder / "model_card.json", content)
    write_text(folder / "MODEL_CARD.md", markdown(content, summary))


def refusals(readings: Mapping[FormName, Reading], rows: pd.DataFrame) -> dict[str, str]:
    """Path of each picture that a form refused, and why."""
    return {
        rows["path"].iloc[place]: reason
        for reading in readings.values()
        for place, reason in reading.refused.items()
    }


def unrounded(trained: Model, batch: Pixels, evaluated: Floats) -> Floats:
    """What the head says of features that were not rounded: what an exported model must say.

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
    from stages.engine.head import apply_head

    record = trained.record
    weights = read_head(trained.folder, record)
    features = base_features(trained.backbone, trained.backbone_folder, batch)
    again = apply_head(record.head, weights, features.astype(np.float16))
    difference = compare(evaluated, again).difference
    if not difference <= _ROUNDED:
        raise HeadstartError(
            "The evaluated predictions are not this model's: from features rounded to float16 a "
            f"probability differs by {difference:.3g}, where {_ROUNDED:g} is accepted. Nothing was "
            "exported. If model and predictions are of one run (`dvc repro` sees to it), this head "
            "is too sensitive to rounding: set extract_features.dtype to float32."
        )
    return apply_head(record.head, weights, features)


def rounding(evaluated: Floats, expected: Floats) -> dict[str, Any]:
    """For the metrics: what rounding the features did to the evaluated predictions."""
    return {
        "rounding": compare(evaluated, expected).summary(),
        "rounded_probability_difference_accepted": _ROUNDED,
    }


def base_features(backbone: BackboneRecord, folder: Path, batch: Pixels) -> Floats:
    """Features of pictures by the engine that recorded them, float32."""
    if backbone.engine == "keras":
        from stages.nets.keras_engine import KerasFunction

        run = KerasFunction(folder, backbone, KERAS_BATCH, cores())
        starts = range(0, len(batch), KERAS_BATCH)
        return np.concatenate([run(batch[start : start + KERAS_BATCH]) for start in starts])
    from stages.engine.litert import LiteRTFunction

    return LiteRTFunction(folder / NETWORK, cores())(batch)


def not_covered() -> tuple[str, ...]:
    """Where the SavedModel does otherwise than training."""
    from stages.nets.inputs import NOT_COVERED

    return NOT_COVERED


class _Clock:
    """Seconds of each part, for the journal."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


if __name__ == "__main__":
    cli.run(main)

"""The formats in which the model leaves the project, each reloaded and compared, and their card.

Every form is loaded again in a fresh process, as a stranger would load it, and compared with the
evaluated predictions on the same test images; if one does not agree, nothing is written. All
bytes depend on the model alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import write_json, write_text
from headstart._utils.machine import cores, keras_batch
from headstart.backbones.record import NETWORK, BackboneRecord, read_backbone
from headstart.backbones.registry import HUB
from headstart.export.formats import FORMATS, FormatName
from headstart.export.model_card import markdown
from headstart.export.parity import Agreement, compare
from headstart.export.readme import readme
from headstart.export.record import ExportedModel
from headstart.export.summary import labels_text
from headstart.stage.run_statistics import RunStatistics
from headstart.training.labels import write_labels
from headstart.training.model_folder import ModelRecord, read_head, read_model

if TYPE_CHECKING:
    import pandas as pd

    from headstart.keras.export.fresh_process import Reading

#: Accepted between the evaluated predictions and our own from features rounded to float16: a last
#: bit that another CPU or GPU gave may have been rounded the other way.
_ROUNDED = 0.01

Floats = npt.NDArray[np.floating[Any]]
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
        """Where the backbone's fine-tuned weights lie; None: it has its pretrained ones."""
        return self.folder if self.record.kind == "fine_tuned" else None


@dataclass(frozen=True)
class Shown:
    """The images that every form is run on, as files and as pixels, and those for int8."""

    contents: list[bytes]
    pixels: Pixels
    calibration: Pixels | None


@dataclass(frozen=True)
class Written:
    """What was written: what each form said when it was loaded again, and what was not possible."""

    readings: Mapping[FormatName, Reading]
    left_out: dict[str, str] = field(default_factory=dict)


def write_and_read(
    folder: Path,
    trained: Model,
    names: Sequence[FormatName],
    shown: Shown,
    run_statistics: RunStatistics,
) -> Written:
    """Write each form; have it loaded again in a process of its own, and run on the images."""
    from headstart.keras.export.fresh_process import readers

    ordered = [name for name in FORMATS if name in names]
    left_out: dict[str, str] = {}
    with readers(ordered) as fresh:
        from headstart.keras.runtime import configure  # isort: skip - while the first reader imports it, too
        from headstart.keras.export import model as model_io
        from headstart.keras.export import writers

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
        source = writers.Source(built, record.classes, shown.calibration)
        clock("building")
        for name in ordered:
            if name in _KERAS_FORMATS and trained.backbone.name == HUB:
                left_out[name] = _NO_STANDARD_LAYERS
                continue
            try:
                writers.write(name, source, folder)
            except writers.NotConvertibleError as error:
                if not may_lack(name, trained.backbone):
                    raise HeadstartError(f"{error} {_TAKE_IT_OUT}") from error
                print(f"{error} It is left out.")
                left_out[name] = (
                    "LiteRT cannot convert this backbone (extract_features.engine: keras)"
                )
                continue
            clock(name)
            fresh.read(name, folder / FORMATS[name].path)
        readings = fresh.results()
        clock("waiting_for_readers")
    run_statistics.note(parts_seconds=clock.seconds)
    if not readings:
        raise HeadstartError(
            f"None of the formats {', '.join(ordered)} can be made of this model. Nothing was "
            "exported. Add saved_model to export.formats in params.yaml: it holds any backbone."
        )
    return Written(readings, left_out)


_KERAS_FORMATS = ("keras", "h5")
_NO_STANDARD_LAYERS = (
    "it holds standard layers alone, and this backbone is a module of TensorFlow Hub; a "
    "SavedModel has the module inside"
)
_TAKE_IT_OUT = (
    "Nothing was exported. Take it out of export.formats in params.yaml, or choose another "
    "backbone."
)


def may_lack(name: FormatName, backbone: BackboneRecord) -> bool:
    """Whether a form may be left out: the backbone is one that never ran on LiteRT."""
    return FORMATS[name].library == "litert" and backbone.engine == "keras"


def exactly(found: Mapping[FormatName, Mapping[str, Agreement]]) -> dict[str, dict[str, float]]:
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


def refusals(readings: Mapping[FormatName, Reading], rows: pd.DataFrame) -> dict[str, str]:
    """Path of each image that a form refused, and why."""
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
    from headstart.training.head import apply_head

    record = trained.record
    weights = read_head(trained.folder, record)
    features = backbone_features(trained.backbone, trained.backbone_folder, batch)
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


def backbone_features(backbone: BackboneRecord, folder: Path, batch: Pixels) -> Floats:
    """Features of images by the engine that recorded them, float32."""
    if backbone.engine == "keras":
        from headstart.keras.networks.engine import KerasFunction, keras_device

        count = keras_batch(keras_device())
        run = KerasFunction(folder, backbone, count, cores())
        starts = range(0, len(batch), count)
        return np.concatenate([run(batch[start : start + count]) for start in starts])
    from headstart.backbones.litert import LiteRTFunction

    return LiteRTFunction(folder / NETWORK, cores())(batch)


def not_covered() -> tuple[str, ...]:
    """Where the SavedModel does otherwise than training."""
    from headstart.keras.export.inputs import NOT_COVERED

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

"""Keras file and SavedModel from picture bytes to labels, reloaded and compared.

Both forms are loaded again as a stranger would load them and compared with the evaluated
predictions on the same test pictures; what does not agree is not written. Their bytes depend on the
model alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stages.artifacts.backbone_record import NETWORK, BackboneRecord, read_backbone
from stages.artifacts.labels import write_labels
from stages.artifacts.manifest import read_split
from stages.artifacts.model_folder import ModelRecord, read_head, read_model
from stages.artifacts.passes import refresh_table
from stages.artifacts.predictions import read_predictions
from stages.artifacts.shards import ShardReader
from stages.core import cli
from stages.core.cli import In, Out, Runtime
from stages.core.errors import HeadstartError
from stages.core.files import atomic_folder, write_json, write_text
from stages.core.journal import Journal
from stages.core.machine import KERAS_BATCH, cores
from stages.core.params.export import ExportParams
from stages.core.params.extract_features import ExtractFeaturesParams
from stages.report.exported import describe, labels_text, readme

if TYPE_CHECKING:
    import pandas as pd

KERAS_FILE = "model.keras"
SAVED_MODEL = "saved_model"
SAME_PIXELS = ("keras", "saved_model_pixels")
#: What the text of a difference that must not depend on the CPU's last bits begins with.
_LEAST_POWER = -7
#: Accepted between the evaluated predictions and our own from features rounded to float16: a last
#: bit that another CPU or GPU gave may have been rounded the other way.
_ROUNDED = 0.01

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def main(
    images: In,
    manifest: In,
    backbone_folder: In,
    model: In,
    predictions: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    export_folder: Out,
    metrics: Out,
    journal: Journal,
    export: ExportParams,
    extract_features: ExtractFeaturesParams,
) -> None:
    """Build, write, reload, compare."""
    record, backbone = read_model(model), read_backbone(backbone_folder)
    predicted = read_predictions(predictions, record.classes)
    chosen = choose(len(predicted.rows), export.parity_pictures)
    rows = locate(predicted.rows.iloc[chosen], read_split(manifest))
    evaluated = predicted.model[chosen]
    contents, batch = load(images, rows, backbone.image_size)
    weights_folder = model if record.kind == "fine_tuned" else backbone_folder
    rounded = record.kind == "head" and extract_features.dtype == "float16"
    with atomic_folder(export_folder) as folder:
        outputs, reasons = write_and_run(
            folder, record, backbone, weights_folder, model, contents, batch, journal
        )
        expected = evaluated
        if rounded:
            expected = unrounded(record, backbone, backbone_folder, model, batch, evaluated)
        taken = require_some(reasons, len(contents))
        compared = {name: compare(expected, outputs[name]) for name in SAME_PIXELS}
        from_files = outputs["saved_model_bytes"]
        compared["saved_model_bytes"] = compare(expected[taken], from_files[taken])
        if rounded:
            compared["rounding"] = compare(evaluated, outputs["keras"])
        journal.note(differences={name: exact for name, (exact, _) in compared.items()})
        accept(compared, export.max_probability_difference)
        write_labels(folder / "labels.json", record.classes)
        write_text(folder / "labels.txt", labels_text(record.classes))
        write_text(folder / "README.md", readme(record, backbone, not_covered()))
    refused = {rows["path"].iloc[place]: reason for place, reason in reasons.items()}
    summary = summarize(compared, len(contents), len(refused), export, record)
    write_json(metrics, summary)
    print(describe(summary, refused))
    refresh_table(journal)


def choose(count: int, wanted: int) -> list[int]:
    """Evenly spaced rows: the same ones for the same numbers, and from every class."""
    return sorted({round(float(x)) for x in np.linspace(0, count - 1, min(count, wanted))})


def locate(pictures: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's rows of some evaluated pictures, in their order.

    Raises
    ------
    HeadstartError
        If one is not in the manifest.
    """
    by_path = manifest.set_index("path", drop=False)
    unknown = [path for path in pictures["path"] if path not in by_path.index]
    if unknown:
        raise HeadstartError(
            f"The predictions speak of {unknown[0]!r}, which the manifest does not list. They come "
            "from different runs. Nothing was exported. Run the pipeline (`dvc repro`)."
        )
    return by_path.loc[pictures["path"].tolist()]


def load(images: Path, rows: pd.DataFrame, size: int) -> tuple[list[bytes], Pixels]:
    """The files of some rows of a manifest, and their pixels, (n, size, size, 3)."""
    from stages.imaging.pixels import pixels

    columns = (rows[name].tolist() for name in ("shard", "offset", "bytes", "image_id"))
    with ShardReader(images) as reader:
        contents = [reader.read(*place) for place in zip(*columns, strict=True)]
    return contents, np.stack([pixels(content, size) for content in contents])


def write_and_run(
    folder: Path,
    record: ModelRecord,
    backbone: BackboneRecord,
    weights_folder: Path,
    head_folder: Path,
    contents: list[bytes],
    batch: Pixels,
    journal: Journal,
) -> tuple[dict[str, Floats], dict[int, str]]:
    """Write both forms, load them again, and return what each says of the pictures.

    Returns
    -------
    outputs : dict of str to ndarray of shape (n_pictures, n_classes), float32
        ``keras`` and ``saved_model_pixels`` on our pixels, ``saved_model_bytes`` on the files;
        NaN where the SavedModel refused a file.
    refused : dict of int to str
        Position of each file that it refused, and why.
    """
    from stages.nets.tf import configure  # isort: skip - before anything else of TensorFlow
    from stages.nets import model_io

    configure(cores())
    clock = _Clock()
    built = model_io.classifier(
        backbone, weights_folder, record.head, read_head(head_folder, record)
    )
    clock("building")
    model_io.save_saved_model(built, record.classes, folder / SAVED_MODEL)
    clock("saved_model")
    model_io.save_keras(built, folder / KERAS_FILE)
    clock("keras_file")
    served = model_io.load_saved_model(folder / SAVED_MODEL)
    clock("loading_saved_model")
    from_files, refused = model_io.run_bytes(served, contents)
    outputs = {
        "saved_model_pixels": model_io.run_pixels(served, batch),
        "saved_model_bytes": from_files,
    }
    clock("running_saved_model")
    loaded = model_io.load_keras(folder / KERAS_FILE)
    clock("loading_keras_file")
    outputs["keras"] = model_io.run_keras(loaded, batch)
    clock("running_keras_file")
    journal.note(parts_seconds=clock.seconds)
    return outputs, refused


def unrounded(
    record: ModelRecord,
    backbone: BackboneRecord,
    backbone_folder: Path,
    head_folder: Path,
    batch: Pixels,
    evaluated: Floats,
) -> Floats:
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

    weights = read_head(head_folder, record)
    features = base_features(backbone, backbone_folder, batch)
    again = apply_head(record.head, weights, features.astype(np.float16))
    difference = compare(evaluated, again)[0]
    if not difference <= _ROUNDED:
        raise HeadstartError(
            "The evaluated predictions are not this model's: from features rounded to float16 a "
            f"probability differs by {difference:.3g}, where {_ROUNDED:g} is accepted. Nothing was "
            "exported. If model and predictions are of one run (`dvc repro` sees to it), this head "
            "is too sensitive to rounding: set extract_features.dtype to float32."
        )
    return apply_head(record.head, weights, features)


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


def compare(expected: Floats, found: Floats) -> tuple[float, int]:
    """Largest difference of a probability, and on how many pictures the first guess is the same."""
    difference = float(np.abs(np.asarray(expected, np.float64) - found).max())
    agree = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    return difference, agree


def require_some(refused: Mapping[int, str], count: int) -> list[int]:
    """Positions of the pictures that were not refused.

    Raises
    ------
    HeadstartError
        If there are none, so that nothing is known of the way from files.
    """
    taken = [place for place in range(count) if place not in refused]
    if not taken:
        reasons = "; ".join(sorted(set(refused.values())))
        raise HeadstartError(
            f"The SavedModel refuses all {count} test pictures that it was to be compared on: "
            f"{reasons} Pillow, which training reads pictures with, takes them. Nothing was "
            "exported. Convert the pictures to JPEG or PNG and run the pipeline again."
        )
    return taken


def accept(compared: dict[str, tuple[float, int]], limit: float) -> None:
    """Refuse an export that does not say on the same pixels what was evaluated.

    Raises
    ------
    HeadstartError
        Naming the form and the difference.
    """
    for name in SAME_PIXELS:
        difference = compared[name][0]
        if not difference <= limit:
            raise HeadstartError(
                f"The exported form `{name}` is not the evaluated model: on the same pixels a "
                f"probability differs by {difference:.3g}; export.max_probability_difference is "
                f"{limit:g}. Nothing was exported. If model and predictions are of one run, the "
                "limit is below what float32 gives for this base: 0.0001 is usual."
            )


def summarize(
    compared: dict[str, tuple[float, int]],
    count: int,
    refused: int,
    params: ExportParams,
    record: ModelRecord,
) -> dict[str, Any]:
    """The metrics: differences as bounds, since their last digits belong to the CPU."""
    forms = {
        name: {
            "probability_differs_at_most": at_most(difference),
            "same_first_guess": agree,
            "same_first_guess_share": agree
            / (count - (refused if name == "saved_model_bytes" else 0)),
        }
        for name, (difference, agree) in compared.items()
    }
    summary = {
        **forms,
        "kind": record.kind,
        "pictures": count,
        "refused": refused,
        "probability_difference_accepted": params.max_probability_difference,
    }
    if "rounding" in compared:
        summary["rounded_probability_difference_accepted"] = _ROUNDED
    return summary


def at_most(difference: float) -> float:
    """The next 1, 2 or 5 times a power of ten, at least 1e-7."""
    for power in range(_LEAST_POWER, 1):
        for digit in (1, 2, 5):
            bound = float(f"{digit}e{power}")
            if difference <= bound:
                return min(bound, 1.0)
    return 1.0


if __name__ == "__main__":
    cli.run(main)

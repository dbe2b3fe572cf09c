"""The formats in which the model leaves the project, each reloaded and compared, and their card.

Every form is loaded again in a fresh process, as a stranger would load it, and compared with the
evaluated predictions on the same test images; if one does not agree, nothing is written. All
bytes depend on the model alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headstart._utils.files import atomic_folder, read_json, sha256_file, write_json
from headstart.datasets.manifests import read_split
from headstart.datasets.parameters import SampleParams, SplitParams
from headstart.evaluation.passes import refresh_table
from headstart.evaluation.predictions import read_predictions
from headstart.export.metrics import describe_model, summarize_formats
from headstart.export.model_card import Data, card
from headstart.export.parameters import ExportParams
from headstart.export.parity import accept, compared
from headstart.export.parity_images import calibrating, choose, load, locate
from headstart.export.record import RECORD, write_exported
from headstart.export.summary import describe, license_of
from headstart.features.parameters import ExtractFeaturesParams
from headstart.keras.export.export import (
    Model,
    Shown,
    exactly,
    refusals,
    rounding,
    unrounded,
    write_and_read,
    write_pages,
)
from headstart.sources.parameters import DownloadParams
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.training.parameters import FineTuneParams, TrainHeadParams


def main(  # noqa: PLR0913, PLR0917 - the model card states the whole procedure
    images: LazyIn,
    manifest: In,
    intake: In,
    backbone_folder: In,
    model: In,
    predictions: In,
    evaluation: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    export_folder: Out,
    metrics: Out,
    run_statistics: RunStatistics,
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
    chosen = choose(len(predicted.rows), export.parity_images)
    table = read_split(manifest)
    rows = locate(predicted.rows.iloc[chosen], table)
    size = trained.backbone.image_size
    shown = Shown(*load(images, rows, size), calibration=None)
    if "tflite_int8" in export.formats:
        training = calibrating(table, export.calibration_images, seed)
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
        written = write_and_read(folder, trained, export.formats, shown, run_statistics)
        evaluated = predicted.model[chosen]
        expected: Any = evaluated
        if trained.record.kind == "head" and extract_features.dtype == "float16":
            expected = unrounded(trained, shown.pixels, evaluated)
        found = compared(expected, written.readings, export)
        run_statistics.note(differences=exactly(found))
        accept(found, export)
        refused = refusals(written.readings, rows)
        formats = summarize_formats(folder, found)
        exported = describe_model(trained.record, license_of(trained.backbone), folder, formats)
        write_exported(folder, exported)
        summary: dict[str, Any] = {
            "formats": formats,
            "kind": trained.record.kind,
            "left_out": written.left_out,
            "model_sha256": sha256_file(folder / RECORD),
            "images": len(rows),
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
    refresh_table(run_statistics)


if __name__ == "__main__":
    command_line.run(main)

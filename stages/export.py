"""Write the model in each requested format, reload and compare it, and add a model card.

Every format is loaded again in a fresh process, as any user would load it, and compared with the
evaluated predictions on the same test images. If one does not agree, nothing is written. The bytes
depend only on the model.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder, size_below, write_json
from headstart.datasets.correction_counts import read_correction_counts
from headstart.datasets.manifests import read_split
from headstart.evaluation.passes import refresh_table
from headstart.evaluation.recorded import read_evaluated
from headstart.export.card import Data, procedure, read_counts
from headstart.export.pages import describe
from headstart.export.parameters import ExportParams
from headstart.keras.export.export import Model, export_model
from headstart.stage import command_line
from headstart.stage.command_line import In, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.sections import Section
from headstart.stage.space import require_space


def main(  # noqa: PLR0913, PLR0917 - the model card states the whole procedure
    images: In,
    manifest: In,
    download_metrics: In,
    split_metrics: In,
    backbone_folder: In,
    model: In,
    predictions: In,
    evaluation: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    export_folder: Out,
    metrics: Out,
    run_statistics: RunStatistics,
    seed: int,
    # Shown in the card: their own classes would make this stage depend on their rooms.
    download: Section,
    split: Section,
    sample: Section,
    extract_features: Section,
    train_head: Section,
    fine_tune: Section,
    export: ExportParams,
) -> None:
    """Write the formats, reload and compare them, and describe the model."""
    trained = Model.read(model, backbone_folder)
    require_space({export_folder: len(export.formats) * size_below(backbone_folder) // 2})
    table = read_split(manifest)
    predicted, scores = read_evaluated(predictions, evaluation, table, trained.record.classes)
    corrections = read_correction_counts(split_metrics)
    data = Data(table, read_counts(download_metrics), corrections, scores)
    sections = {
        "download": download,
        "split": split,
        "sample": sample,
        "extract_features": extract_features,
        "train_head": train_head,
        "fine_tune": fine_tune,
    }
    with atomic_folder(export_folder) as folder:
        summary, refused = export_model(
            folder,
            trained,
            predicted,
            images,
            data,
            procedure(seed, sections),
            export,
            run_statistics,
        )
    write_json(metrics, summary)
    print(describe(summary, refused))
    refresh_table(run_statistics)


if __name__ == "__main__":
    command_line.run(main)

"""Both models on the whole test split: scores, predictions, calibration, and what the run cost.

The head-only model reads the recorded features. A fine-tuned one takes the activations at its cut
from the store and runs the layers above. TensorFlow is not needed for either.
"""

from __future__ import annotations

import numpy as np

from headstart._utils.files import write_json, write_text
from headstart.datasets.manifests import read_split
from headstart.evaluation.environment import environment
from headstart.evaluation.evaluate import (
    ENVIRONMENT,
    calibration_csv,
    check,
    confusion_csv,
    facts,
    final_outputs,
    predicted,
    scores,
)
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.passes import write_table
from headstart.evaluation.predictions import write_predictions
from headstart.evaluation.summary import passes_text, scores_text
from headstart.features.folder import read_features
from headstart.stage import command_line, versions
from headstart.stage.command_line import In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.training.classifier import head_outputs
from headstart.training.model_folder import read_model


def main(
    images: LazyIn,
    manifest: In,
    features: LazyIn,
    head: In,
    model: In,
    runtime: Runtime,
    predictions: Out,
    metrics: Out,
    confusion: Out,
    calibration: Out,
    evaluate: EvaluateParams,
    run_statistics: RunStatistics,
) -> None:
    """Read, measure, write, tell."""
    recorded, split_rows = read_features(features), read_split(manifest)
    test = split_rows[split_rows["split"] == "test"].reset_index(drop=True)
    head_record, record = read_model(head), read_model(model)
    check(recorded, test, head_record, head)
    check(recorded, test, record, model)
    head_only = head_outputs(head, head_record, recorded.array("test"))
    final = final_outputs(model, record, recorded, images, test)
    labels = np.array([record.classes.index(label) for label in test["label"]], np.int64)
    summary = {
        "head": scores(head_only, labels, head_record, evaluate),
        "model": scores(final, labels, record, evaluate),
        **facts(record, split_rows),
    }
    write_predictions(predictions, predicted(test, record.classes, head_only, final))
    write_json(metrics, summary)
    # No output: the same results on another machine must give the same dvc.lock.
    write_json(run_statistics.folder / ENVIRONMENT, environment(versions.read(runtime)))
    write_text(confusion, confusion_csv(test["label"], record.classes, final))
    write_text(calibration, calibration_csv(final, labels, evaluate.calibration_bins))
    print(scores_text(summary), end="\n\n")
    if final.passes:
        run_statistics.note(passes_done=final.passes.done, passes_cached=final.passes.cached)
    rows = sum(entry.shape[0] for entry in recorded.header.splits.values())
    print(passes_text(write_table(run_statistics, rows)))


if __name__ == "__main__":
    command_line.run(main)

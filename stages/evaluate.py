"""Score both models on the whole test split: predictions, metrics, calibration, table of passes."""

from __future__ import annotations

from headstart._utils.csv_text import csv_text
from headstart._utils.files import write_json, write_text
from headstart.cluster.connection import cluster as open_cluster
from headstart.datasets.manifests import read_split
from headstart.evaluation.environment import ENVIRONMENT, environment
from headstart.evaluation.evaluate import evaluate as evaluate_models
from headstart.evaluation.parameters import EvaluateParams
from headstart.evaluation.passes import write_table
from headstart.evaluation.predictions import predictions_size, write_predictions
from headstart.evaluation.summary import passes_text, scores_text
from headstart.features.folder import read_features
from headstart.stage import command_line, versions
from headstart.stage.command_line import Cluster, In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space


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
    cluster: Cluster = None,
) -> None:
    """Evaluate the head-only and the final model."""
    recorded = read_features(features)
    rows = read_split(manifest)
    require_space({predictions: predictions_size(rows, len(recorded.header.classes))})
    with open_cluster(cluster, images, runtime) as workers:
        found = evaluate_models(recorded, rows, images, head, model, evaluate, workers)
    write_predictions(predictions, found.predictions)
    write_json(metrics, found.metrics)
    write_text(confusion, csv_text(found.confusion))
    write_text(calibration, csv_text(found.calibration))
    # Not an output: the same results on another machine must give the same dvc.lock.
    write_json(run_statistics.folder / ENVIRONMENT, environment(versions.read(runtime)))
    print(scores_text(found.metrics), end="\n\n")
    if found.passes:
        run_statistics.note(passes_done=found.passes.done, passes_cached=found.passes.cached)
    feature_rows = sum(entry.shape[0] for entry in recorded.header.splits.values())
    print(passes_text(write_table(run_statistics, feature_rows)))


if __name__ == "__main__":
    command_line.run(main)

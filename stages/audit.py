"""Audit the data on the cached features: label issues, outliers, classes, drift, learning curve.

No image is read and no backbone runs. The findings do not change the training.
"""

from __future__ import annotations

import time

from headstart._utils.files import write_json
from headstart.audit import tables
from headstart.audit.inspection import inspect
from headstart.audit.parameters import AuditParams
from headstart.datasets.duplicates import read_groups
from headstart.datasets.manifests import read_split
from headstart.features.folder import read_features
from headstart.stage import command_line
from headstart.stage.command_line import In, Out, Runtime
from headstart.stage.run_statistics import RunStatistics


def main(
    features: In,
    manifest: In,
    duplicate_groups: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    label_issues: Out,
    outliers: Out,
    classes: Out,
    learning_curve: Out,
    metrics: Out,
    seed: int,
    audit: AuditParams,
    run_statistics: RunStatistics,
) -> None:
    """Read the features, judge labels and classes, and write the findings."""
    start = time.perf_counter()
    groups = read_groups(duplicate_groups)
    found = inspect(read_features(features), read_split(manifest), groups, audit, seed)
    for path, table in (
        (label_issues, found.issues),
        (outliers, found.outliers),
        (classes, found.classes),
        (learning_curve, found.curve),
    ):
        tables.write(path, table)
    write_json(metrics, found.metrics())
    run_statistics.note(images=found.images, label_issues=len(found.issues))
    print(f"{found.describe()}\n({time.perf_counter() - start:.1f} s)")


if __name__ == "__main__":
    command_line.run(main)

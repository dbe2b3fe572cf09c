"""Draw the figures and write the page about the run: data, scores, mistakes, cost.

The figures are an output: equal numbers give equal bytes. The page also shows commit, seconds and
passes, which differ between two runs of the same commit, so it is not tracked. `headstart report`
writes it again from the files in `data`.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder
from headstart.evaluation.passes import refresh_table
from headstart.report.parameters import MakeReportParams
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out
from headstart.stage.page import Page
from headstart.stage.run_statistics import RunStatistics


def main(  # noqa: PLR0913, PLR0917 - it shows something of every stage
    images: LazyIn,
    manifest: In,
    rejected: In,
    rejected_images: In,
    split_metrics: In,
    backbone_folder: In,
    head_epochs: In,
    head_batches: In,
    fine_tune_epochs: In,
    predictions: In,
    metrics: In,
    calibration: In,
    export_folder: In,
    export_metrics: In,
    label_issues: In,
    outliers: In,
    audit_classes: In,
    learning_curve: In,
    audit_metrics: In,
    figures: Out,
    page: Page,
    run_statistics: RunStatistics,
    seed: int,
    make_report: MakeReportParams,
) -> None:
    """Draw the figures and write the page."""
    # matplotlib and the like: not for `--help`.
    from headstart.report.run import Files, Run, draw, show

    run = Run(
        Files(
            images=images,
            manifest=manifest,
            rejected=rejected,
            rejected_images=rejected_images,
            split_metrics=split_metrics,
            backbone_folder=backbone_folder,
            head_epochs=head_epochs,
            head_batches=head_batches,
            fine_tune_epochs=fine_tune_epochs,
            predictions=predictions,
            metrics=metrics,
            calibration=calibration,
            export_folder=export_folder,
            export_metrics=export_metrics,
            label_issues=label_issues,
            outliers=outliers,
            audit_classes=audit_classes,
            learning_curve=learning_curve,
            audit_metrics=audit_metrics,
            run_statistics=run_statistics.folder,
        )
    )
    with atomic_folder(figures) as folder:
        draw(run, folder)
    refresh_table(run_statistics)  # The page shows it, with this stage's row.
    show(run, figures, page, seed, make_report)
    print(f"The report of this run: {page.path} (open it in a browser; it needs no network).")
    refresh_table(run_statistics)


if __name__ == "__main__":
    command_line.run(main)

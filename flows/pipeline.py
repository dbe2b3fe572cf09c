"""The pipeline as a Prefect flow: one task per stage of DVC's graph, and no list of stages."""

from __future__ import annotations

from typing import Any

from prefect import flow

from headstart.runs.pipeline_run import run_pipeline


@flow(name="pipeline", persist_result=False)
def pipeline(
    root: str | None = None, gate: bool = True, commit: bool = False, push: bool = False
) -> Any:
    """Run the stages that have to run, in the graph's order, independent ones side by side.

    Parameters
    ----------
    root : str or None
        The project's folder; None: the current one.
    gate : bool
        Ask the gate of a stage that has one (``gate`` in its ``meta``) before it is started.
    commit, push : bool
        Commit what was recorded to a branch of its own; push it, with its data.

    Returns
    -------
    State
        The flow's: Completed; Failed with the stages' messages; Held; Cancelled.
    """
    return run_pipeline(root, gate=gate, commit=commit, push=push)

"""A comparison of backbones as a flow: the choice is its message, the table an artifact."""

from __future__ import annotations

from typing import Any

from prefect import flow

from headstart.runs.backbone_comparison import run_comparison


@flow(name="compare-backbones", persist_result=False)
def compare_backbones(
    names: list[str],
    root: str | None = None,
    budget_ms: float | None = None,
    budget_mb: float | None = None,
    write: bool = False,
) -> Any:
    """Measure backbones on the images of the project's last run, and choose one.

    Parameters
    ----------
    names : list of str
        As `headstart compare-backbones` takes them.
    root : str or None
        The project's folder; None: the current one.
    budget_ms, budget_mb : float or None
        The most that a forward pass and the network's file may need.
    write : bool
        Write the choice into params.yaml.

    Returns
    -------
    State
        Completed; Failed with what is wrong; Cancelled.
    """
    return run_comparison(names, root, budget_ms=budget_ms, budget_mb=budget_mb, write=write)

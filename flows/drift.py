"""A check of new images as a flow: it fails when they are not like those of the last run."""

from __future__ import annotations

from typing import Any

from prefect import flow

from headstart.runs.drift_check import run_drift_check


@flow(name="drift", persist_result=False)
def drift(images: list[str], root: str | None = None, significance: float = 0.01) -> Any:
    """Compare new images, or recorded predictions, with the images of the project's last run.

    Parameters
    ----------
    images : list of str
        As `headstart drift` takes them.
    root : str or None
        The project's folder; None: the current one.
    significance : float
        False alarms that are accepted, as a share.

    Returns
    -------
    State
        Completed if they are alike; Failed with what differs, or with what is wrong; Cancelled.
    """
    return run_drift_check(images, root, significance=significance)

"""The reproduction of a commit as a flow: the verdict is its state, the certificate an artifact."""

from __future__ import annotations

from typing import Any

from prefect import flow

from headstart.runs.reproduction import run_reproduction


@flow(name="reproduce", persist_result=False)
def reproduce(
    rev: str = "HEAD",
    root: str | None = None,
    require: str = "bit-exact",
    warm: bool = False,
    from_source: bool = False,
    changed: list[str] | None = None,
) -> Any:
    """Run a commit again in a clean copy, and compare every output with its dvc.lock.

    Parameters
    ----------
    rev : str
        The commit.
    root : str or None
        The project's folder; None: the current one.
    require : str
        bit-exact, numerically-equal or metric-equal: the least that counts as success.
    warm, from_source : bool
        Use recorded features; fetch the data again.
    changed : list of str or None
        Parameters to set, as ``section.key=value``.

    Returns
    -------
    State
        Completed; Failed with the verdict, or with the reason for none; Cancelled.
    """
    return run_reproduction(
        rev, root, require=require, warm=warm, from_source=from_source, changed=changed
    )

"""A comparison of backbones inside a flow run: the command as a child, its table as an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from headstart._utils.files import read_json, temporary_folder
from headstart.runs.command import CANCELED, publish_table, run_command

ARTIFACT = "backbones"


def run_comparison(
    names: Sequence[str],
    root: str | None = None,
    *,
    budget_ms: float | None = None,
    budget_mb: float | None = None,
    write: bool = False,
) -> State[Any]:
    """Compare backbones; the body of ``flows/compare_backbones.py``.

    Parameters
    ----------
    names, budget_ms, budget_mb, write
        As ``headstart compare-backbones`` takes them.
    root : str or None
        The project's folder; None: the current one.

    Returns
    -------
    State
        Completed with the choice; Failed with the command's message; Cancelled.
    """
    options = {"--budget-ms": budget_ms, "--budget-mb": budget_mb}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    with temporary_folder("headstart-backbones") as folder:
        output = folder / "comparison"
        words = ["compare-backbones", f"--output={output}", *given]
        words += [*(["--write"] if write else []), "--", *names]
        ended = run_command("compare-backbones", words, root)
        if ended.stopped:
            return Cancelled(message=CANCELED)
        found = read_json(output / "backbones.json") if output.exists() else None
    if found is not None:
        table = _table(found["backbones"])
        publish_table(table, ARTIFACT, "Backbones on validation images")
    if ended.code:
        return Failed(message=ended.reason())
    return Completed(message=f"Chosen: {found['chosen'] if found else 'nothing'}")


def _table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "backbone": row["backbone"],
            "chosen": row["chosen"],
            "accuracy on validation": round(row["validation"]["linear"]["accuracy"], 4),
            "ms": round(row["ms"], 2),
            "MB": round(row["mb"], 1),
            "passes": row["passes"],
        }
        for row in rows
    ]

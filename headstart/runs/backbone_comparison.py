"""A comparison of backbones inside a flow run: the command as a child, its table as an artifact."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from headstart._utils.files import read_json, temporary_folder
from headstart.runs import child
from headstart.runs.flow_run import cancellation, current_flow_run

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
    flow_run = current_flow_run("compare-backbones")
    log, stop, lines = get_run_logger(), threading.Event(), [""]

    def heard(line: str) -> None:
        lines.append(line)
        log.info("%s", line)

    options = {"--budget-ms": budget_ms, "--budget-mb": budget_mb}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    with temporary_folder("headstart-backbones") as folder:
        output = folder / "comparison"
        command = [sys.executable, "-m", "headstart", "compare-backbones", f"--output={output}"]
        command += [*given, *(["--write"] if write else []), "--", *names]
        with cancellation(flow_run.id, stop, log.warning):
            ended = child.run(command, folder=Path(root or "."), on_line=heard, stop=stop)
        if ended.stopped:
            return Cancelled(message="Cancelled. Features that were extracted are kept.")
        found = read_json(output / "backbones.json") if output.exists() else None
    if found is not None:
        _publish(found["backbones"], log)
    if ended.code:
        starts = [n for n, line in enumerate(lines) if line.startswith("Error: ")]
        return Failed(message="\n".join(lines[(starts or [-1])[-1] :]))
    return Completed(message=f"Chosen: {found['chosen'] if found else 'nothing'}")


def _publish(rows: Sequence[dict[str, Any]], log: Any) -> None:
    table = [
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
    try:
        create_table_artifact(table, key=ARTIFACT, description="Backbones on validation images")
    except Exception as error:  # noqa: BLE001 - the server may be gone; the comparison stands
        log.warning("Prefect's server did not accept the table: %s", error)

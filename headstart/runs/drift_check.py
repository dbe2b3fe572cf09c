"""A check of new images inside a flow run: the command as a child, its list as an artifact."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from headstart.runs import child
from headstart.runs.flow_run import cancellation, current_flow_run

ARTIFACT = "drift"
_NOT_ALIKE, _SOME_UNREADABLE = 5, 3  # exit codes of the command
_LAST = 5  # lines that say why, where no error does


def run_drift_check(
    images: Sequence[str], root: str | None = None, *, significance: float = 0.01
) -> State[Any]:
    """Check new images; the body of ``flows/drift.py``.

    Parameters
    ----------
    images, significance
        As ``headstart drift`` takes them.
    root : str or None
        The project's folder; None: the current one.

    Returns
    -------
    State
        Completed if they are alike; Failed with what differs, or the command's message; Cancelled.
    """
    flow_run = current_flow_run("drift")
    log, stop, lines = get_run_logger(), threading.Event(), [""]

    def heard(line: str) -> None:
        lines.append(line)
        log.info("%s", line)

    command = [sys.executable, "-m", "headstart", "drift", "--json"]
    command += [f"--significance={significance}", "--", *images]
    with cancellation(flow_run.id, stop, log.warning):
        ended = child.run(command, folder=Path(root or "."), on_line=heard, stop=stop)
    if ended.stopped:
        return Cancelled(message="Cancelled. Features that were extracted are kept.")
    if ended.code not in {0, _SOME_UNREADABLE, _NOT_ALIKE}:
        starts = [n for n, line in enumerate(lines) if line.startswith("Error: ")]
        return Failed(message="\n".join(lines[(starts or [-_LAST])[-1] :]).strip())
    found = _json(lines)
    _publish(found["most_unlike"], log)
    return _state(found)


def _json(lines: Sequence[str]) -> dict[str, Any]:
    """Return the object among the lines of both streams."""
    start = lines.index("{")
    found: dict[str, Any] = json.loads("\n".join(lines[start : lines.index("}", start) + 1]))
    return found


def _state(found: dict[str, Any]) -> State[Any]:
    compared = f"{found['new_images']:,} new images, p = {found['p']:.4f}"
    if found["alike"]:
        return Completed(message=f"Alike: {compared}")
    return Failed(message="\n".join([f"Not alike: {compared}", *found["reasons"]]))


def _publish(rows: list[dict[str, Any]], log: Any) -> None:
    try:
        create_table_artifact(rows, key=ARTIFACT, description="Images most unlike the run's")
    except Exception as error:  # noqa: BLE001 - the server may be gone; the verdict stands
        log.warning("Prefect's server did not accept the table: %s", error)

"""A check of new images inside a flow run: the command as a child, its list as an artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from headstart.runs.command import CANCELED, publish_table, run_command

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
    words = ["drift", "--json", f"--significance={significance}", "--", *images]
    ended = run_command("drift", words, root)
    if ended.stopped:
        return Cancelled(message=CANCELED)
    if ended.code not in {0, _SOME_UNREADABLE, _NOT_ALIKE}:
        return Failed(message=ended.reason(_LAST))
    found = _json(ended.lines)
    publish_table(found["most_unlike"], ARTIFACT, "Images most unlike the run's")
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

"""A command of Headstart inside a flow run: a child whose lines are logged, and a table of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact

from headstart.runs import child
from headstart.runs.flow_run import cancellation, current_flow_run

#: Message of a flow that was canceled while its command extracted features.
CANCELED = "Cancelled. Features that were extracted are kept."


@dataclass(frozen=True)
class Ended:
    """A command that ended.

    Attributes
    ----------
    code : int
        Its exit code.
    stopped : bool
        The flow run was canceled.
    lines : list of str
        Of both streams, after an empty one.
    """

    code: int
    stopped: bool
    lines: list[str]

    def reason(self, last: int = 1) -> str:
        """Return the last error with what follows it; without one, the last lines."""
        starts = [n for n, line in enumerate(self.lines) if line.startswith("Error: ")]
        return "\n".join(self.lines[(starts or [-last])[-1] :]).strip()


def run_command(flow: str, words: Sequence[str], root: str | None) -> Ended:
    """Run ``headstart WORDS`` in a project, log its lines, and end it when the flow is canceled.

    Parameters
    ----------
    flow : str
        Name of the flow that this is called in.
    words : sequence of str
        The command and its arguments.
    root : str or None
        The project's folder; None: the current one.
    """
    flow_run = current_flow_run(flow)
    log, stop, lines = get_run_logger(), threading.Event(), [""]

    def on_line(line: str) -> None:
        lines.append(line)
        log.info("%s", line)

    command = [sys.executable, "-m", "headstart", *words]
    with cancellation(flow_run.id, stop, log.warning):
        ended = child.run(command, folder=Path(root or "."), on_line=on_line, stop=stop)
    return Ended(ended.code, ended.stopped, lines)


def publish_table(rows: list[dict[str, Any]], key: str, description: str) -> None:
    """Show a table on the page of the flow run; what it is about stands without it."""
    try:
        create_table_artifact(rows, key=key, description=description)
    except Exception as error:  # noqa: BLE001 - the server may be gone
        get_run_logger().warning("Prefect's server did not accept the table: %s", error)

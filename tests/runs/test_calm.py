"""What a stopped run prints: nothing in the color of errors."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from headstart.runs import pipeline_run
from headstart.runs.artifacts import Board
from headstart.runs.progress import Listener
from headstart.runs.stage_tasks import StageTasks

LOG = logging.getLogger("prefect.task_runs")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Finished in state Cancelled('backbone was stopped.')", logging.INFO),
        ("Finished in state NotReady(\"Upstream task run '1' did not reach …\")", logging.INFO),
        ("Finished in state Failed('no good')", logging.ERROR),
        ("a stage's own line: Finished in state Cancelled(", logging.ERROR),
    ],
)
def test_what_was_stopped_is_no_error(text: str, level: int) -> None:
    record = logging.LogRecord(LOG.name, logging.ERROR, "", 0, "%s", (text,), None)
    assert pipeline_run._calm in LOG.filters
    assert LOG.filter(record)
    assert (record.levelno, record.levelname) == (level, logging.getLevelName(level))
    if "NotReady" in text:
        assert record.getMessage() == "Not started, because an earlier stage did not finish."


def test_dvcs_error_about_a_stage_that_we_stopped_is_left_out() -> None:
    said: list[str] = []
    stop = threading.Event()
    tasks = StageTasks(Path(), "run", False, Board(said.append), {}, stop)
    hear = tasks._line_handler(Listener(said.append, lambda *_: None))
    failed = "ERROR: failed to reproduce 'backbone': exited with 130"
    hear(failed)
    stop.set()
    hear(failed)
    hear("Interrupted.")
    assert said == [failed, "Interrupted."]

"""What a run did: seconds, passes and other counters, one small JSON file a stage.

Kept apart from the stages' outputs, because a run that finds its features recorded must give the
same bytes as one that computes them, and "how long" and "how many passes" are exactly what differs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart._utils import processes
from headstart._utils.files import read_json, write_json


class RunStatistics:
    """Counters of the stage that is running; written to ``folder/STAGE.json`` when it succeeds."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder = folder
        self.stage = stage
        self.counters: dict[str, Any] = {}
        self._start = time.perf_counter()

    def note(self, **counters: Any) -> None:
        """Record counters (JSON values) under their names."""
        self.counters.update(counters)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, stage: str) -> Iterator[RunStatistics]:
        """Run a block with a run statistics and write it if the block succeeds."""
        run_statistics = cls(folder, stage)
        yield run_statistics
        run_statistics.write()

    def write(self) -> None:
        """Write what is noted so far, with the seconds since the stage began."""
        seconds = round(time.perf_counter() - self._start, 3)
        entry = {"stage": self.stage, "run": run_id(), "seconds": seconds, **self.counters}
        write_json(self.folder / f"{self.stage}.json", entry)

    def others(self) -> dict[str, dict[str, Any]]:
        """The entries that stages left in the folder, by stage; ``this_run`` says whether now."""
        found, this = {}, run_id()
        for path in sorted(self.folder.glob("*.json")):
            entry = read_json(path)
            if isinstance(entry, dict) and entry.get("stage") == path.stem:
                found[path.stem] = {**entry, "this_run": entry.get("run") == this}
        return found


def run_id() -> str:
    """Names the run that a stage belongs to: ``$HEADSTART_RUN``, else dvc, else the parent process.

    All stages of one ``dvc repro`` work for the same process; its start time tells it from a later
    one that was given the same number.
    """
    given = os.environ.get("HEADSTART_RUN")
    if given:
        return given
    # Run by hand, the shell that one types into is what the runs have in common.
    owner = processes.employer() if "DVC_STAGE" in os.environ else processes.parent()
    return f"{owner.pid}-{owner.start}"

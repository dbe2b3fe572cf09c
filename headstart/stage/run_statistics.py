"""Run statistics: seconds, memory and counters of a run, one small JSON file per stage.

They are kept apart from the stages' outputs: a run that finds its features in the cache must give
the same bytes as one that computes them, and exactly these numbers differ between the two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart._utils.files import read_json, write_json
from headstart._utils.machine import peak_memory
from headstart.stage import watchdog


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
        """Yield the statistics of a stage and write them if the block succeeds."""
        statistics = cls(folder, stage)
        yield statistics
        statistics.write()

    def write(self) -> None:
        """Write the counters recorded so far, with the seconds since the stage began.

        ``peak_memory_mb``: the largest memory of one of its processes, in units of 10⁶ bytes.
        """
        entry = {
            "stage": self.stage,
            "run": run_id(),
            "seconds": round(time.perf_counter() - self._start, 3),
            "peak_memory_mb": round(peak_memory() / 1e6),
            "ended": round(time.time(), 3),  # The folder knows no other order of the stages.
            **self.counters,
        }
        write_json(self.folder / f"{self.stage}.json", entry)

    def others(self) -> dict[str, dict[str, Any]]:
        """Return the entries in the folder by stage; ``this_run`` is True for those of this run."""
        found, this = {}, run_id()
        for path in sorted(self.folder.glob("*.json")):
            try:
                entry = read_json(path)
            except (OSError, ValueError, RecursionError) as error:
                print(f"{path} is damaged, and its counters are left out: {error}.", flush=True)
                continue
            if isinstance(entry, dict) and entry.get("stage") == path.stem:
                found[path.stem] = {**entry, "this_run": entry.get("run") == this}
        return found


def run_id() -> str:
    """Return the name of the run that a stage belongs to.

    It is ``$HEADSTART_RUN`` if set; otherwise it names the dvc that started the stage, because all
    stages of one ``dvc repro`` are started by the same process; without DVC, the parent process:
    stages that are run by hand share the shell.
    """
    given = os.environ.get("HEADSTART_RUN")
    if given:
        return given
    owner = watchdog.launcher() if "DVC_STAGE" in os.environ else watchdog.parent()
    return watchdog.identity(owner)

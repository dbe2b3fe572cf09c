"""The stages of a run as Prefect's tasks: their order, gates, processes and final states."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import Task, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Completed, Failed

from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Fate, Planned
from headstart.runs import child
from headstart.runs.artifacts import Board
from headstart.runs.progress import ASKED, Listener
from headstart.runs.run_stage import (
    Outcome,
    StageFailedError,
    StageStoppedError,
    run_stage,
    surroundings,
)

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

HELD = "Held"
HELD_CODE = 5  # a gate's exit code for "no"
_RETRY_S = 5.0
_END_S = 20.0  # more than a child needs to be ended
_STOPPED = "ERROR: failed to reproduce"


@dataclass
class StageTasks:
    """The tasks of one run.

    Attributes
    ----------
    root : Path
        The project's folder.
    run_id : str
        The run that the stages write into their statistics.
    gate : bool
        Ask the gate of a stage that has one.
    board : Board
        Shows a stage's progress and results.
    outcomes : dict of str to Outcome
        By stage; filled as they end.
    stop : threading.Event
        Set it, and the stages end.
    """

    root: Path
    run_id: str
    gate: bool
    board: Board
    outcomes: dict[str, Outcome]
    stop: threading.Event

    def __post_init__(self) -> None:
        self._untouched: set[str] = set()  # stages that needed no process
        # As many at a time as there are cores: a foreach may stand for a hundred.
        self._slots = threading.BoundedSemaphore(max(2, os.cpu_count() or 2))

    def run(self, planned: Sequence[Planned]) -> dict[str, State[Any]]:
        """Run the tasks in the graph's order; return the state of each."""
        futures: dict[str, PrefectFuture[Any]] = {}
        try:
            for entry in planned:
                before = [futures[name] for name in entry.stage.parents]
                futures[entry.stage.name] = self._task(entry).submit(
                    wait_for=before, return_state=False
                )
            for future in futures.values():
                future.wait()
        except BaseException:  # Ctrl-C, SIGTERM: no stage is left behind
            self.stop.set()
            for future in futures.values():
                future.wait(timeout=_END_S)
            raise
        return {name: future.state for name, future in futures.items()}

    def _task(self, entry: Planned) -> Task[[], State[Any]]:
        """Return the task of a stage, under its name."""
        meta, name = entry.stage.meta, entry.stage.name

        def stage() -> State[Any]:
            return self._perform(entry)

        return Task(
            stage,
            name=name,
            task_run_name=name.replace("{", "{{").replace("}", "}}"),
            description=entry.stage.desc or None,
            retries=int(meta.get("retries", 0)),
            retry_delay_seconds=float(meta.get("retry_delay_s", _RETRY_S)),
            retry_condition_fn=lambda _task, _run, state: (
                state.name == "Failed" and not self.stop.is_set()
            ),
            cache_policy=NO_CACHE,  # DVC caches files
            persist_result=False,
        )

    def _perform(self, entry: Planned) -> State[Any]:
        """Run a stage in its task's thread: in a process, unless nothing can have changed."""
        stage, log = entry.stage, get_run_logger()
        if entry.fate == Fate.UNCHANGED and self._untouched.issuperset(stage.parents):
            self._untouched.add(stage.name)
            self.outcomes[stage.name] = Outcome.UNCHANGED
            return Completed(name=Outcome.UNCHANGED, message="Its dependencies did not change.")
        listener = Listener(log.info, self.board.progress(stage.name))
        try:
            with self._slot(stage):
                held = self._ask(stage, log.info)
                if held is not None:
                    return held
                outcome = run_stage(
                    self.root, stage.name, on_line=self._line_handler(listener), stop=self.stop,
                    timeout_s=stage.timeout_s,
                    environment={**ASKED, "HEADSTART_RUN": self.run_id},
                )  # fmt: skip
        except StageStoppedError as error:
            return Cancelled(message=str(error))
        except StageFailedError as error:
            return Failed(message=str(error))
        self.outcomes[stage.name] = outcome
        listener.done()
        if outcome != Outcome.UNCHANGED:
            self.board.stage(self.root, stage)
        return Completed(name=outcome, message=_SAYS[outcome])

    def _line_handler(self, listener: Listener) -> Callable[[str], None]:
        """Return the handler of a stage's lines; it drops DVC's error about a stopped stage."""

        def hear(line: str) -> None:
            if not (self.stop.is_set() and line.startswith(_STOPPED)):
                listener.hear(line)

        return hear

    @contextmanager
    def _slot(self, stage: Stage) -> Iterator[None]:
        """Hold one of the slots for stages that run at the same time."""
        while not self._slots.acquire(timeout=0.2):
            if self.stop.is_set():
                break
        else:
            try:
                if not self.stop.is_set():
                    yield
                    return
            finally:
                self._slots.release()
        raise StageStoppedError(f"{stage.name} was not started.")

    def _ask(self, stage: Stage, say: Callable[[str], None]) -> State[Any] | None:
        """Ask the gate, if the stage has one; None: the stage may run."""
        words = str(stage.meta.get("gate") or "")
        if not self.gate or not words:
            return None
        said: list[str] = []

        def hear(line: str) -> None:
            said.append(line)
            say(line)

        ended = child.run(
            shlex.split(words), folder=self.root, on_line=hear, stop=self.stop,
            timeout_s=stage.timeout_s, environment=surroundings(),
        )  # fmt: skip
        if ended.stopped:
            raise StageStoppedError(f"{stage.name} was not started.")
        if ended.code == HELD_CODE:
            return Failed(name=HELD, message="\n".join(said).strip() or "Its gate holds the model.")
        if ended.code:
            printed = "\n".join(said[-20:]).strip() or "it printed nothing"
            return Failed(message=f"Its gate (`{words}`) ended with {ended.code}: {printed}")
        return None


_SAYS = {
    Outcome.RAN: "It ran, and DVC recorded its outputs.",
    Outcome.RESTORED: "Its outputs are from an earlier run, restored from DVC's cache.",
    Outcome.UNCHANGED: "DVC found it up to date.",
}

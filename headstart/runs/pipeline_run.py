"""The pipeline as a Prefect flow: one task for each stage of DVC's graph, and no list of stages.

DVC decides which stages run and records them; the flow orders, watches and reports. So a server
that stops costs a record in Prefect, never a stage's work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.states import Cancelled, Completed, Failed

from headstart._utils.disk import amount, free_space
from headstart._utils.errors import HeadstartError
from headstart._utils.machine import name_user
from headstart._utils.tables import counted
from headstart.pipeline import graph, lockfile
from headstart.pipeline.cache_objects import cache_folder
from headstart.pipeline.plan import Fate, changes, plan
from headstart.runs import recording
from headstart.runs.artifacts import Board
from headstart.runs.flow_run import cancellation, current_flow_run
from headstart.runs.run_stage import Outcome
from headstart.runs.stage_tasks import HELD, StageTasks

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

_SHOW_S = 5.0  # for the artifacts that wait to be published


def run_pipeline(
    root: str | None = None, *, gate: bool = True, commit: bool = False, push: bool = False
) -> State[Any]:
    """Run the stages that have to run inside a flow run; the body of ``flows/pipeline.py``.

    Parameters
    ----------
    root : str or None
        The project's folder; None: the current one.
    gate : bool
        Ask the gate of a stage that has one (``gate`` in its ``meta``) before it is started.
    commit, push : bool
        Commit what was recorded to a branch of its own; push it, with its data.

    Returns
    -------
    State
        The flow's: Completed; Failed with the stages' messages; Held; Cancelled.
    """
    name_user()
    flow_run = current_flow_run("pipeline")
    folder = Path(root or Path.cwd()).resolve()
    run = Run(folder, flow_run, get_run_logger(), gate=gate, commit=commit, push=push)
    watching = _WATCHING.get()
    if watching is not None:
        watching.append(run)
    try:
        return run.execute()
    finally:
        run.over.set()


_WATCHING: ContextVar[list[Run] | None] = ContextVar("watching", default=None)


@contextmanager
def watching() -> Iterator[list[Run]]:
    """Yield the runs that begin in the block, with their results even if Prefect lost them."""
    found: list[Run] = []
    token = _WATCHING.set(found)
    try:
        yield found
    finally:
        _WATCHING.reset(token)


@dataclass
class Run:
    """One run of the flow: the state that its tasks share, and their outcomes.

    Attributes
    ----------
    root : Path
        The project's folder.
    flow_run : FlowRun
    log : logger
        Of the flow run.
    gate, commit, push : bool
        As :func:`run_pipeline` takes them.
    outcomes : dict of str to Outcome
        By stage.
    result : State or None
        The final state; None: it has not ended, or not by itself.
    stop, over : threading.Event
        Set it, and the stages end; set when nothing is left but to report to the server.
    """

    root: Path
    flow_run: FlowRun
    log: Any
    gate: bool = True
    commit: bool = False
    push: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    result: State[Any] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.board = Board(self.log.warning)

    def execute(self) -> State[Any]:
        """Run the stages, and return the final state."""
        who = f"flow run '{self.flow_run.name}'"
        with ExitStack() as stack:
            try:
                asked = stack.enter_context(
                    cancellation(self.flow_run.id, self.stop, self.log.warning)
                )
                stack.callback(self.board.close, _SHOW_S)
                stack.enter_context(
                    lockfile.exclusive_run(self.root, who, self.log.warning, self.stop)
                )
                self.result = self._recorded()
            except KeyboardInterrupt:
                self.result = Cancelled(message="Interrupted. Finished work is recorded.")
            except HeadstartError as error:
                self.result = Failed(message=str(error))
            except Exception as error:  # a fault of ours: Prefect shows where
                self.result = Failed(
                    message=f"Failed outside of a stage: {type(error).__name__}: {error}"
                )
                raise
            except BaseException:  # SIGTERM, as Prefect hands it on
                self.result = Cancelled(message="Ended by a signal. Finished work is recorded.")
                raise
            if asked.is_set():
                self.result = Cancelled(message="Canceled. Finished work is recorded.")
        return self.result

    def _recorded(self) -> State[Any]:
        """Run the stages, and commit their results if that was requested."""
        head = recording.before(self.root) if self.commit else None
        stages = graph.stages(self.root)
        graph.require_sources(self.root, stages)
        planned = plan(stages, changes(self.root))
        tasks = StageTasks(
            self.root, str(self.flow_run.id), self.gate, self.board, self.outcomes, self.stop
        )
        still = all(entry.fate == Fate.UNCHANGED for entry in planned)
        with nullcontext() if still else lockfile.in_order(self.root):
            states = tasks.run(planned)
        state = _verdict(states)
        if any(outcome != Outcome.UNCHANGED for outcome in self.outcomes.values()):
            self.board.notes(self.root, graph.kept(self.root).notes)
            if _good(state):
                state = self._checked(state)
        if self.commit and _good(state):
            recording.record(
                self.root, self.flow_run.name, push=self.push, held=state.name == HELD,
                commit=head, outcomes=self.outcomes,
            )  # fmt: skip
        return state

    def _checked(self, state: State[Any]) -> State[Any]:
        """Check that the outputs are as recorded: DVC exits with 0 on a full disk, too."""
        found = changes(self.root)
        amiss = [
            f"{path} ({word})"
            for name, outcome in self.outcomes.items()
            if outcome != Outcome.UNCHANGED and name in found
            for path, word in found[name].outs.items()
        ]
        if not amiss:
            return state
        cache = cache_folder(self.root)
        free = amount(free_space(cache))
        return Failed(
            message="The stages succeeded, but their outputs are not as recorded: "
            f"{', '.join(amiss[:10])}. Something else wrote there, or DVC could not keep them in "
            f"its cache, {cache}, where {free} is free: see DVC's errors above. Make room there, "
            "or move the cache (`dvc cache dir FOLDER`); then run again."
        )


def _good(state: State[Any]) -> bool:
    """Return whether every stage that should run did."""
    return state.is_completed() or state.name == HELD


def _verdict(states: Mapping[str, State[Any]]) -> State[Any]:
    """Return the run's state as it follows from the stages' states."""
    failed = {name: state for name, state in states.items() if state.is_failed()}
    waiting = [name for name, state in states.items() if not state.is_final()]
    rest = f"\nNot started: {', '.join(waiting)}." if waiting else ""
    if failed:
        held = all(state.name == HELD for state in failed.values())
        words = "\n".join(f"{name}: {state.message}" for name, state in failed.items())
        return Failed(name=HELD if held else "Failed", message=words + rest)
    odd = [f"{name}: {state.name}" for name, state in states.items() if not state.is_completed()]
    if odd:
        return Cancelled(message=f"Stopped. {', '.join(odd)}")
    named = {word: [n for n, s in states.items() if s.name == word] for word in Outcome}
    counts = [f"{len(names)} {word.lower()}" for word, names in named.items() if names]
    return Completed(message=f"{counted(len(states), 'stage')}: {', '.join(counts)}.")


def _quiet(record: logging.LogRecord) -> bool:
    """Keep "NoneType: None" out of the log of a state that failed without an exception."""
    if record.exc_info == (None, None, None):
        record.exc_info = None
    return True


#: The beginnings of Prefect's log lines about tasks that were stopped, or that never began.
_NO_FAULT = ("Finished in state Cancelled(", "Finished in state NotReady(")


def _calm(record: logging.LogRecord) -> bool:
    """Log a task that Ctrl-C or an earlier stage stopped as information, not as an error."""
    text = record.getMessage()
    if record.levelno >= logging.ERROR and text.startswith(_NO_FAULT):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        if text.startswith(_NO_FAULT[1]):
            record.msg, record.args = "Not started, because an earlier stage did not finish.", ()
    return True


for _filter in (_quiet, _calm):
    logging.getLogger("prefect.task_runs").addFilter(_filter)

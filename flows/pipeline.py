"""The pipeline as a Prefect flow: a task for each stage that DVC's graph has, and no list of them.

DVC decides what has to run and records what did; the flow orders, watches and tells. So a server
that goes away costs a record in Prefect, never a stage's work.
"""

from __future__ import annotations

import logging
import os
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_client, get_run_logger
from prefect.cache_policies import NO_CACHE
from prefect.context import get_run_context
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, State

from flows import child, dag
from flows.errors import FlowError
from flows.plan import Fate, Planned, plan
from flows.run_stage import Outcome, StageFailedError, run_stage, surroundings

HELD = "Held"
_HELD_CODE = 5  # a gate's exit code for "no"
_WATCH_S = 2.0  # between two questions whether the run is to be cancelled
_RETRY_S = 5.0


@flow(name="pipeline", persist_result=False)
def pipeline(
    root: str | None = None, gate: bool = True, commit: bool = False, push: bool = False
) -> State[Any]:
    """Run the stages that have to run, in the graph's order, independent ones side by side.

    Parameters
    ----------
    root : str or None
        The project's folder; None: the current one.
    gate : bool
        Ask the gate of a stage that has one (``gate`` in its ``meta``) before it is started.
    commit, push : bool
        Commit what was recorded to a branch of its own; push that branch.
    """
    folder = Path(root or Path.cwd()).resolve()
    run = Run(folder, gate=gate, flow_run=get_run_context().flow_run)  # type: ignore[union-attr]
    return run.whole()


@dataclass
class Run:
    """One run of the flow: what its tasks share."""

    root: Path
    gate: bool
    flow_run: Any
    stop: threading.Event = field(default_factory=threading.Event)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    slots: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(max(2, os.cpu_count() or 2))
    )

    def whole(self) -> State[Any]:
        """All stages; the state says how it ended."""
        planned = plan(dag.stages(self.root), dag.changes(self.root))
        futures: dict[str, PrefectFuture[Any]] = {}
        try:
            for entry in planned:
                before = [futures[name] for name in entry.stage.parents]
                futures[entry.stage.name] = self.task(entry).submit(wait_for=before)
            for future in futures.values():
                future.wait()
        finally:
            self.stop.set()
        return _verdict({name: future.state for name, future in futures.items()})

    def task(self, entry: Planned) -> Task[[], State[Any]]:
        """The task of a stage, under its name."""
        meta = entry.stage.meta
        name = entry.stage.name

        def stage() -> State[Any]:
            return self.perform(entry)

        return Task(
            stage,
            name=name,
            task_run_name=name.replace("{", "{{").replace("}", "}}"),
            description=entry.stage.desc or None,
            retries=int(meta.get("retries", 0)),
            retry_delay_seconds=float(meta.get("retry_delay_s", _RETRY_S)),
            retry_condition_fn=lambda _task, _run, state: (
                not self.stop.is_set() and state.name == "Failed"
            ),
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    def perform(self, entry: Planned) -> State[Any]:
        """A stage, in its task's thread."""
        stage = entry.stage
        logger = get_run_logger()
        if entry.fate == Fate.UNCHANGED and self.skipped.issuperset(stage.parents):
            self.skipped.add(stage.name)
            self.outcomes[stage.name] = Outcome.UNCHANGED
            return Completed(name=Outcome.UNCHANGED, message="Nothing changed since its record.")
        environment = {"HEADSTART_RUN": str(self.flow_run.id)}
        timeout_s = stage.meta.get("timeout_s")
        with self.slots:
            if self.gate and stage.meta.get("gate"):
                said: list[str] = []
                ended = child.run(
                    shlex.split(str(stage.meta["gate"])),
                    folder=self.root, on_line=said.append, stop=self.stop,
                    environment={**surroundings(), **environment},
                )  # fmt: skip
                if ended.code:
                    name = HELD if ended.code == _HELD_CODE else "Failed"
                    return Failed(name=name, message="\n".join(said))
            try:
                outcome = run_stage(
                    self.root, stage.name, on_line=logger.info, stop=self.stop,
                    timeout_s=None if timeout_s is None else float(timeout_s),
                    environment=environment,
                )  # fmt: skip
            except StageFailedError as error:
                return Failed(message=str(error))
        self.outcomes[stage.name] = outcome
        return Completed(name=outcome)


def _verdict(states: Mapping[str, State[Any]]) -> State[Any]:
    failed = {name: state for name, state in states.items() if state.is_failed()}
    if failed:
        held = all(state.name == HELD for state in failed.values())
        words = "\n".join(f"{name}: {state.message}" for name, state in failed.items())
        return Failed(name=HELD if held else "Failed", message=words)
    if not all(state.is_completed() for state in states.values()):
        return Cancelled(message="Stopped.")
    return Completed(message=", ".join(f"{name}: {state.name}" for name, state in states.items()))

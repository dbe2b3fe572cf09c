"""One stage of dvc.yaml through DVC, in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psutil

from headstart._utils.errors import HeadstartError
from headstart.pipeline import lockfile
from headstart.runs import child

_QUEUE_S = 15.0  # at most, between two tries
_PATIENT = 3  # seconds for which a lock may be held before it is reported
_SAID_MOST = 20  # lines of a stage that printed no error
_WATCHDOG = Path(__file__).resolve().parent.parent / "pipeline" / "dvc_watchdog.py"


class Outcome(StrEnum):
    """The outcome of a stage."""

    RAN = "Ran"
    RESTORED = "Restored"  # from DVC's cache: a former run made it
    UNCHANGED = "Unchanged"


class StageFailedError(HeadstartError):
    """A stage failed; the message is the stage's own."""


class StageStoppedError(StageFailedError):
    """A stage was stopped because the run is ending; it did not fail."""


# How DVC reports a fault; a stage may begin a line with ERROR, too.
_FAULT = ("ERROR: failed to reproduce", "ERROR: unexpected error", "ERROR: interrupted")


@dataclass
class _Talk:
    """The lines of DVC and the stage: DVC's verdict on the stage, and lines for a message."""

    root: Path
    stage: str
    on_line: Callable[[str], None]
    outcome: Outcome = Outcome.UNCHANGED
    begun: bool = False
    said: list[str] = field(default_factory=list)
    dvc: list[str] = field(default_factory=list)
    holder: int = 0  # of DVC's lock, and how often it was met
    met: int = 0
    next_s: float = field(default_factory=lambda: time.monotonic() + 1.0)

    def look(self) -> None:
        """Report who holds DVC's lock, once a second until the stage begins; DVC does not."""
        if self.begun or time.monotonic() < self.next_s:
            return
        self.next_s = time.monotonic() + 1.0
        holder = lockfile.holder(self.root) or 0
        self.met = self.met + 1 if holder == self.holder else 1
        self.holder = holder
        if holder and self.met == _PATIENT:
            self.on_line(f"Process {holder} holds DVC's lock of this project. Waiting for it …")

    def hear(self, line: str) -> None:
        """Record and pass on a line."""
        verdict = {
            f"Running stage '{self.stage}':": Outcome.RAN,
            f"Stage '{self.stage}' is cached - skipping run, checking out outputs": (
                Outcome.RESTORED
            ),
            f"Stage '{self.stage}' didn't change, skipping": Outcome.UNCHANGED,
        }.get(line)
        if verdict is not None and not self.begun:
            self.begun, self.outcome = True, verdict
        elif self.dvc or line.startswith(_FAULT if self.begun else "ERROR: "):
            self.dvc.append(line)
        elif line.strip() and not line.startswith("> "):
            self.said = [*self.said[-500:], line]
        if self.dvc and not self.begun:
            return  # the reason that it did not begin; not shown if it will be tried again
        if line.strip() and not line.startswith(_NOISE):
            self.on_line(line)

    @property
    def busy(self) -> list[int]:
        """Return the numbers of the processes that hold the stage's files, as DVC reports them."""
        text = "\n".join(self.dvc)
        if "is busy, it is being blocked by:" not in text:
            return []
        return [int(number) for number in re.findall(r"\(PID (\d+)\)", text)]

    def message(self) -> str:
        """Return the stage's own error message; DVC's, if the stage was not at fault."""
        _, error, words = "\n".join(["", *self.said]).rpartition("\nError: ")
        if error:
            return words
        ended = re.search(r"failed to run: .*, exited with -?\d+", "\n".join(self.dvc), re.DOTALL)
        if self.said and (ended or not self.dvc):
            return "\n".join(self.said[-_SAID_MOST:])
        return "\n".join(self.dvc).removeprefix("ERROR: ") or "It printed nothing."


# DVC's hints about git and its remote are for users of DVC's command line.
_NOISE = (
    "To track the changes with git", "\tgit add ", "To enable auto staging", "\tdvc config ",
    "Use `dvc push`", "Generating lock file", "Updating lock file", "Data and pipelines are up",
)  # fmt: skip


def run_stage(
    root: Path,
    stage: str,
    *,
    on_line: Callable[[str], None],
    stop: threading.Event | None = None,
    timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Outcome:
    """Run a stage if DVC finds that it has to run: ``dvc repro --single-item``.

    If another process works on the same files, it is named, and its end is waited for.

    Parameters
    ----------
    root : Path
        The project's folder.
    stage : str
        As DVC addresses it.
    on_line : callable
        Called with each line that DVC and the stage print, as it comes.
    stop : threading.Event or None
        Set by another thread, it ends the stage within seconds.
    timeout_s : float or None
        Seconds after which the stage is ended.
    environment : mapping or None
        Variables over those of this process.
    arguments : sequence of str
        More options of ``dvc repro``.

    Raises
    ------
    StageFailedError
        If DVC or the stage fails, or its time is over; ``StageStoppedError`` if it was stopped.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    reported: list[int] = []
    pause_s = 1.0
    while True:
        talk = _Talk(root, stage, on_line)
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        ended = child.run(
            _command(stage, arguments),
            folder=root,
            on_line=talk.hear,
            stop=stop,
            timeout_s=left,
            environment={**surroundings(), **(environment or {})},
            watchdog=os.name == "posix",
            meanwhile=talk.look,
        )
        if ended.stopped:
            raise StageStoppedError(f"{stage} was stopped.")
        if ended.timed_out:
            raise StageFailedError(
                f"{stage} was ended after {timeout_s:g} s, the time that it has in dvc.yaml "
                "(meta: timeout_s). Finished work that it saved is kept; run "
                "again to resume, or give it more time."
            )
        if talk.begun or not talk.busy:
            break
        if talk.busy != reported:
            names = ", ".join(map(str, talk.busy))
            on_line(f"Process {names} works on the files of {stage}. Waiting for it to end …")
        reported, pause_s = talk.busy, min(pause_s * 2, _QUEUE_S)
        _wait(stage, reported, pause_s, stop, deadline)
    for line in () if talk.begun else talk.dvc:
        on_line(line)
    if ended.code != 0:
        raise StageFailedError(talk.message())
    return talk.outcome


def surroundings() -> dict[str, str]:
    """Return variables for a child: our Python first on the path, no buffering, no analytics."""
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if Path(shutil.which("python") or "").parent != Path(here):
        path = f"{here}{os.pathsep}{path}"
    return {
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # as we read it
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }


def _command(stage: str, arguments: Sequence[str]) -> list[str]:
    # -P: nothing in the project's folder can stand in for a module of DVC's.
    start = [str(_WATCHDOG)] if os.name == "posix" else ["-m", "dvc"]
    words = ["--wait-for-lock", "repro", "--single-item", stage, *arguments]
    return [sys.executable, "-P", *start, *words]


def _wait(
    stage: str,
    holders: Sequence[int],
    seconds: float,
    stop: threading.Event | None,
    deadline: float | None,
) -> None:
    """Wait until none of the processes that work on the stage's files lives, or for ``seconds``.

    One of them may have other things to do when it is done with these files.
    """
    again, waiter = time.monotonic() + seconds, stop or threading.Event()
    while time.monotonic() < again and any(map(psutil.pid_exists, holders)):
        if waiter.wait(0.2):
            raise StageStoppedError(f"{stage} was stopped.")
    if deadline is not None and time.monotonic() >= deadline:
        raise StageFailedError(
            f"{stage} could not start in the time that it has in dvc.yaml (meta: timeout_s): "
            f"process {', '.join(map(str, holders))} works on its files. Wait for it or end it, "
            "then run again.",
        )

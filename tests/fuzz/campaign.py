"""Run inputs in a process of their own, start it again when it dies, and count how they end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headstart._utils.tables import columns
from tests.conftest import ROOT, shared_folder

#: Seconds without a line before the process counts as stuck: it may wait without computing.
_PATIENCE = 60
_TITLES = ("target", "inputs", "accepted", "rejected", "crashes", "hangs", "peak MB", "input")


@dataclass
class Tally:
    """How the inputs ended.

    Attributes
    ----------
    outcomes : counts of target and outcome
    faults : list of str
        Crashes and hangs, each with its number for ``--replay``.
    slowest : tuple of float and int
        Processor seconds of the slowest input, and its number.
    peaks : dict of str to (int, int)
        For each target the most memory in MiB, and the input that first needed it.
    """

    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    peaks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def note(self, number: int, target: str, seed: str, said: str) -> None:
        """Count how an input ended."""
        kind = said.partition(" ")[0]
        if kind in {"crash", "hang"}:
            self.faults.append(f"input {number} ({target}, from {seed}): {said}")
            self.outcomes[target][kind] += 1
        else:
            self.outcomes[target][said] += 1

    def __str__(self) -> str:
        rows = [self._row(target) for target in sorted(self.outcomes)]
        lines = [columns([_TITLES, *rows], "lrrrrrrr"), ""]
        for target, counts in sorted(self.outcomes.items()):
            kinds = sorted(counts.keys() - {"accepted", "crash", "hang"})
            said = ", ".join(f"{kind} {counts[kind]:,}" for kind in kinds)
            lines.append(f"{target} rejected: {said or 'none'}")
        cases = "with" if (shared_folder() / "cases").is_dir() else "without"
        lines.append(
            f"Slowest: {self.slowest[0]:.2f} s of processor time, input {self.slowest[1]}. "
            f"Seeds: {cases} shared cases."
        )
        return "\n".join([*lines, *(f"FAULT {fault}" for fault in self.faults)])

    def _row(self, target: str) -> tuple[str, ...]:
        counts = self.outcomes[target]
        total, good = counts.total(), counts["accepted"]
        crashes, hangs = counts["crash"], counts["hang"]
        peak, culprit = self.peaks.get(target, (0, -1))
        numbers = (total, good, total - good - crashes - hangs, crashes, hangs, peak)
        return (target, *(f"{number:,}" for number in numbers), str(culprit))


WORKER = (sys.executable, "-m", "tests.fuzz.worker")


def fuzz(first: int, end: int, worker: Sequence[str] = WORKER) -> Tally:
    """Try the inputs from ``first`` to before ``end``."""
    tally = Tally()
    while first < end:
        first = _until_death([*worker, str(first), str(end)], end, tally)
    return tally


def _until_death(command: Sequence[str], end: int, tally: Tally) -> int:
    """Run a process until it ends or dies; return the next input to try."""
    # Native decoders write to stderr what they think of an input.
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        trying: tuple[int, str, str] | None = None
        for line in _lines(worker):
            kind, *rest = line.split("\t")
            if kind == "try":
                trying = (int(rest[0]), rest[1], rest[2])
            elif trying is not None:
                _note_end(tally, trying, rest)
                trying = None
        stuck = worker.poll() is None
        worker.kill()
        code = worker.wait()
    if trying is None:
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with {code} between two inputs")
        return end
    if stuck:
        said = f"hang without an answer for {_PATIENCE} s"
    elif code == -signal.SIGPROF:
        said = "hang over 2 s of processor time"
    else:
        said = f"crash of the process, code {code}"
    tally.note(*trying, said)
    return trying[0] + 1


def _note_end(tally: Tally, trying: tuple[int, str, str], rest: list[str]) -> None:
    seconds, kib, said = float(rest[0]), int(rest[1]), rest[2]
    number, target, _ = trying
    tally.note(*trying, said)
    tally.slowest = max(tally.slowest, (seconds, number))
    tally.peaks[target] = max(tally.peaks.get(target, (0, -1)), (kib >> 10, number))


def _lines(worker: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what the process prints, until it ends or is silent for too long."""
    assert worker.stdout is not None
    with selectors.DefaultSelector() as ready:
        ready.register(worker.stdout, selectors.EVENT_READ)
        rest = b""
        while ready.select(_PATIENCE):
            block = os.read(worker.stdout.fileno(), 1 << 16)
            if not block:
                worker.wait(_PATIENCE)
                return
            *complete, rest = (rest + block).split(b"\n")
            for line in complete:
                yield line.decode("utf-8", "replace")

"""Estimate the seconds of a plan: from the run statistics of earlier runs, or typical ones.

A stage that ran here takes about as long again. A stage that never ran, or that will do other work
than last time, takes what is typical for its work, within a wider range.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.pipeline.estimate import EVALUATE, EXTRACTION, FINE_TUNE, STILL, Passes
from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Fate, Planned, module, options

#: A stage may take this many times longer or shorter than its last run, or than is typical.
_AGAIN, _TYPICAL = 1.7, 3.0
#: Seconds by which a stage of any length varies: the start of a process on a busy machine.
_START = 1.5


@dataclass(frozen=True)
class Work:
    """The work of the next run, as far as it is known; 0 and None: it is not.

    Attributes
    ----------
    passes : Passes
        Of the extraction.
    files : int
        Files of the source.
    images : int
        Images in use.
    seconds_each : float or None
        Seconds per pass on this machine.
    factor : float
        A pass may take this many times longer or shorter.
    head_epochs, tuning_epochs, formats : int
        Epochs of the head and of fine-tuning, and number of export formats.
    download_seconds : float
        For weights that are not in the cache.
    """

    passes: Passes
    files: int = 0
    images: int = 0
    seconds_each: float | None = None
    factor: float = 3.0
    head_epochs: int = 0
    tuning_epochs: int = 0
    formats: int = 0
    download_seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds per pass; those of a medium-sized network if they are not known."""
        return 0.02 if self.seconds_each is None else self.seconds_each


@dataclass(frozen=True)
class Span:
    """Seconds: at least, about, and at most."""

    least: float
    about: float
    most: float

    def __or__(self, other: Span) -> Span:
        """Return the span that includes both, with ``about`` of ``other``."""
        return Span(min(self.least, other.least), other.about, max(self.most, other.most))


def _around(seconds: float, factor: float) -> Span:
    least = max(seconds / factor - _START, 0.0)
    return Span(round(least, 1), round(seconds, 1), round(seconds * factor + _START, 1))


#: Module to the seconds that are typical for its work on two cores of a server.
TYPICAL: Mapping[str, Callable[[Work], float]] = {
    "stages.download": lambda work: 2 + 0.006 * work.files,
    "stages.find_duplicates": lambda work: 2 + 0.008 * work.images,
    "stages.split": lambda work: 1 + 0.00002 * work.images,
    "stages.sample": lambda work: 1 + 0.00002 * work.images,
    # TensorFlow starts, the network is built, converted, and compared on a few images.
    "stages.backbone": lambda work: 20 + 400 * work.each + work.download_seconds,
    "stages.train_head": lambda work: 8 + 0.0002 * work.images * work.head_epochs,
    # Forward and backward, in TensorFlow, which takes longer than LiteRT for the same network.
    FINE_TUNE: lambda work: (
        20 + 6 * work.each * work.images * work.tuning_epochs if work.tuning_epochs else 1
    ),
    EVALUATE: lambda work: 2 + (work.each * work.images if work.tuning_epochs else 0),
    "stages.export": lambda work: 15 + work.formats * (5 + 200 * work.each),
    "stages.make_report": lambda _: 12,
}
#: Their work grows with the size of the network, so that another backbone makes it another work.
_BY_NETWORK = {"stages.backbone", "stages.export", FINE_TUNE}
#: Start of the extraction without a pass.
_EXTRACTION_START = 4.0


def seconds(entry: Planned, work: Work, *, network_changed: bool = False) -> Span | None:
    """Estimate the seconds of a stage; None if nothing is known.

    Parameters
    ----------
    entry : Planned
    work : Work
    network_changed : bool
        The backbone is going to be another one than in the last run.
    """
    if entry.fate in STILL:
        return Span(0.0, 0.0, 0.0)
    name, record = module(entry.stage), run_statistics(entry.stage)
    took = record.get("seconds")
    if name == EXTRACTION:
        return _extraction(record, work)
    if name not in TYPICAL:
        return None if took is None else _around(took, _AGAIN)
    typical = _around(TYPICAL[name](work), _TYPICAL)
    if took is None or (name in {FINE_TUNE, EVALUATE} and epochs_changed(entry, work)):
        return typical
    again = _around(took * _growth(record, work), _AGAIN)
    return again | typical if network_changed and name in _BY_NETWORK else again


def _extraction(record: Mapping[str, Any], work: Work) -> Span | None:
    if work.passes.needed is None:
        return None
    start = record.get("seconds", _EXTRACTION_START) - record.get("extraction_seconds", 0.0)
    least = work.passes.least if work.passes.at_most else work.passes.needed
    apart = _around(max(start, 0.0), _AGAIN)
    each = work.each
    return Span(
        round(apart.least + least * each / work.factor, 1),
        round(apart.about + work.passes.needed * each, 1),
        round(apart.most + work.passes.needed * each * work.factor, 1),
    )


def _growth(record: Mapping[str, Any], work: Work) -> float:
    """Return how many times as many files a stage reads as in its last run."""
    files = record.get("files")
    return max(work.files / files, 0.5) if files and work.files else 1.0


def epochs_changed(entry: Planned, work: Work) -> bool:
    """Return whether the last fine-tuning here had another number of epochs, or was off.

    In that case its duration, and that of evaluating its model, say nothing about the next run.
    """
    folder = options(entry.stage).get("run_statistics")
    record = _read(folder, FINE_TUNE)
    epochs = work.tuning_epochs
    return bool(record.get("epochs_asked", record.get("epochs", epochs)) != epochs)


@dataclass(frozen=True)
class Total:
    """Seconds of all stages and of DVC between them.

    Attributes
    ----------
    least, about, most : float
    unknown : tuple of str
        The stages for which nothing is known, which are not counted.
    first : tuple of str
        Those that never ran here, which are counted by what is typical.
    again : bool
        Some of the stages ran here before.
    load : float
        Processes per core that run now: if they are many, the stages get a part of the machine, and
        the upper end is this many times ``about``.
    """

    least: float
    about: float
    most: float
    unknown: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    again: bool = False
    load: float = 0.0

    def __str__(self) -> str:
        if not self.most:
            why = " (no earlier run)" if self.unknown else ""
            return "Time: " + ("unknown" if self.unknown else "none") + f"{why}."
        typical = f"typical times of {', '.join(self.first)} (no earlier run here)"
        basis = " and ".join(["earlier runs here"] * self.again + [typical] * bool(self.first))
        if self.first and not self.again:
            basis = "typical times, because no stage has run here"
        busy = " The machine is busy now, and may be slower." * (self.load > 1)
        rest = f" Not counted: {', '.join(self.unknown)} (no earlier run)." if self.unknown else ""
        span = f"between {clock(self.least)} and {clock(self.most)}"
        return f"Time: about {clock(self.about)} ({span}), based on {basis}.{busy}{rest}"


#: DVC's own seconds for each stage: it starts the process, and hashes and records the files.
_DVC = Span(0.3, 1.5, 5.0)


def total(planned: Sequence[Planned], each: Mapping[str, Span | None], load: float = 0.0) -> Total:
    """Return the sum of the seconds by stage name.

    A stage that may run counts in full if an input of the run changed. If only code changed, which
    often makes the same files as before, it counts only toward the upper end.
    """
    moving = [entry for entry in planned if entry.fate not in STILL]
    known = [(entry, span) for entry in moving if (span := each[entry.stage.name]) is not None]
    certain = any(_has_new_inputs(entry) for entry in moving if entry.fate == Fate.RUN)
    sure = [span for entry, span in known if certain or entry.fate == Fate.RUN]
    first = [entry.stage.name for entry, _ in known if "seconds" not in run_statistics(entry.stage)]
    about = sum(span.about + _DVC.about for _, span in known)
    most = sum(span.most + _DVC.most for _, span in known)
    return Total(
        round(sum(span.least + _DVC.least for span in sure), 1),
        round(about, 1),
        round(max(most, about * (load + 1) * (load > 1)), 1),
        tuple(entry.stage.name for entry in moving if each[entry.stage.name] is None),
        tuple(first),
        len(first) < len(known),
        round(load, 2),
    )


def _has_new_inputs(entry: Planned) -> bool:
    """Return whether a stage reads other data or parameters than last time, and not just code."""
    code = {path for path in entry.stage.deps if path.startswith(("stages/", "headstart/"))}
    return any(reason.removesuffix(" changed") not in code for reason in entry.reasons)


def run_statistics(stage: Stage) -> dict[str, Any]:
    """Return the run statistics of the stage's last run here; empty if there was none."""
    return _read(options(stage).get("run_statistics"), module(stage))


def _read(folder: str | None, name: str) -> dict[str, Any]:
    file = Path(folder or ".") / f"{name.rpartition('.')[2]}.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def clock(duration: float) -> str:
    """Return seconds in words."""
    minutes, rest = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

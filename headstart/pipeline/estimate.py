"""Estimate the cost of a plan: passes through the backbone, and seconds from earlier runs.

Knows the stages only by the modules that their commands name. Facts that need the stages'
own code (which images are used, what the feature store holds) are handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Fate, Planned, module, options

EXTRACTION = "stages.extract_features"
FINE_TUNE = "stages.fine_tune"
EVALUATE = "stages.evaluate"
STILL = {Fate.UNCHANGED, Fate.RESTORE}


class UnknownError(Exception):
    """There is no estimate yet; the message says why."""


class Wanted(NamedTuple):
    """What the extraction records, by the keys of the feature store."""

    images: Sequence[str]
    views: Sequence[str] = ()


@dataclass(frozen=True)
class Passes:
    """How many images the next run would send through the frozen backbone.

    Attributes
    ----------
    needed : int or None
        None: it cannot be known yet.
    of : int or None
        Different images in use; None if that does not matter or is not known.
    views : int
        Different augmented views of training images that are recorded, too.
    at_most : bool
        ``needed`` is a bound, because the backbone itself is going to be made.
    seconds_each : float or None
        What a pass took so far.
    why : str
        What the numbers do not say.
    """

    needed: int | None
    of: int | None = None
    views: int = 0
    at_most: bool = False
    seconds_each: float | None = None
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        if self.needed is None:
            return f"Passes: unknown{why}."
        if self.of is None:
            return f"Passes: none{why}."
        most = "up to " if self.at_most else ""
        count = f"{most}{self.needed:,}" if self.needed else "none"
        verb = "need" if self.needed > 1 else "needs"
        of = f"{self.of:,} images"
        if self.views:
            each = f"{of} and {self.views:,} views of training images"
            of = f"{self.of + self.views:,} ({each})"
        return f"Passes: {count} of {of} {verb} one through the backbone{why}."


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning, and the evaluation of what it makes, may send through the network.

    Attributes
    ----------
    images : int or None
        Bound of those that pass through the frozen part unless that is recorded; None: not known.
    views : int
        Bound of the augmented views, which pass through it in every epoch and are never recorded.
    why : str
        Why it is not known.
    """

    images: int | None
    views: int = 0
    why: str = ""

    def __str__(self) -> str:
        where = "through the frozen part below the cut"
        if self.images is None:
            return f"Fine-tuning: unknown how many images {where} ({self.why})."
        views = (
            f", and up to {self.views:,} augmented views, new ones in every epoch"
            if self.views
            else ""
        )
        return f"Fine-tuning: up to {self.images:,} images {where} (none if cached already){views}."


@dataclass(frozen=True)
class Total:
    """Seconds of all stages: what runs for sure, and with what may run; stages without a record."""

    least: float
    most: float
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        if not self.most and self.unknown:
            return "Time: unknown, because none of these stages has run here."
        least, most = clock(self.least), clock(self.most)
        span = f"about {least}" if least == most else f"between {least} and {most}"
        rest = f", not counting {', '.join(self.unknown)} (no earlier run)" if self.unknown else ""
        return f"Time: {span}, estimated from earlier runs{rest}."


def passes(
    planned: Sequence[Planned],
    images: Callable[[Path], Wanted],
    missing: Callable[[Path, Wanted], tuple[int, float | None]],
) -> Passes:
    """Estimate the passes of the extraction.

    Parameters
    ----------
    planned : sequence of Planned
    images : callable
        Image manifest to the images that division and sample will leave in use, and their views.
    missing : callable
        Backbone folder and these to how many of them the feature store lacks, and seconds per pass.

    Both raise :class:`UnknownError` if there is no answer yet.
    """
    by_module = {module(entry.stage): entry for entry in planned}
    extraction = by_module.get(EXTRACTION)
    if extraction is None or extraction.fate in STILL:
        return Passes(0, why="the features are there")
    try:
        wanted = images(_images(planned))
    except UnknownError as error:
        return Passes(None, why=str(error))
    last = run_statistics(extraction.stage).get("seconds_per_pass")
    backbone = by_module["stages.backbone"]
    count, views = len(wanted.images), len(wanted.views)
    why = f"{backbone.stage.name} {backbone.fate}, and some of them may turn out to be cached"
    if backbone.fate == Fate.UNCHANGED:
        try:
            needed, each = missing(Path(options(extraction.stage)["backbone_folder"]), wanted)
            return Passes(needed, count, views, seconds_each=last if each is None else each)
        except UnknownError as error:
            why = str(error)
    return Passes(count + views, count, views, at_most=True, seconds_each=last, why=why)


def tuning(
    planned: Sequence[Planned],
    epochs: int,
    images: Callable[[Path], Mapping[str, int]],
    *,
    augmented: bool,
) -> Tuning | None:
    """Estimate the passes of fine-tuning; None if it is off, or not going to run.

    Parameters
    ----------
    planned : sequence of Planned
    epochs : int
        Of fine-tuning; 0: it is off.
    images : callable
        Image manifest to the number of images in use by split. Raises :class:`UnknownError` if
        there is no answer yet.
    augmented : bool
        Whether training images are changed in every epoch.
    """
    moving = {module(entry.stage) for entry in planned if entry.fate not in STILL}
    splits = {"train", "validation"} if FINE_TUNE in moving else set()
    splits |= {"test"} if EVALUATE in moving else set()
    if not epochs or not splits:
        return None
    try:
        counts = images(_images(planned))
    except UnknownError as error:
        return Tuning(None, why=str(error))
    views = 0
    if augmented and "train" in splits:
        splits.remove("train")
        views = epochs * counts["train"]
    return Tuning(sum(counts[name] for name in splits), views)


def _images(planned: Sequence[Planned]) -> Path:
    """Return the manifest of all images, if it is going to stay as it is."""
    split = next(entry.stage for entry in planned if module(entry.stage) == "stages.split")
    for entry in planned:
        if entry.stage.name in split.parents and entry.fate != Fate.UNCHANGED:
            raise UnknownError(f"until {entry.stage.name} has run")
    return Path(options(split)["images"])


def seconds(entry: Planned, expected: Passes, *, epochs_changed: bool = False) -> float | None:
    """Estimate the seconds of a stage by its last run here; None if there was none like it.

    ``epochs_changed``: see the function of that name.
    """
    if entry.fate in STILL:
        return 0.0
    if epochs_changed and module(entry.stage) in {FINE_TUNE, EVALUATE}:
        return None
    record = run_statistics(entry.stage)
    took = record.get("seconds")
    if took is None or module(entry.stage) != EXTRACTION:
        return took
    if expected.needed is None or expected.seconds_each is None:
        return None
    apart = took - record.get("extraction_seconds", 0.0)
    return float(round(max(apart, 0.0) + expected.needed * expected.seconds_each, 1))


def epochs_changed(planned: Sequence[Planned], epochs: int) -> bool:
    """Return whether fine-tuning ran here last with other epochs than it will, or was off.

    Its last time, and that of evaluating its model, say nothing about the next run then.
    """
    found = (run_statistics(entry.stage) for entry in planned if module(entry.stage) == FINE_TUNE)
    record = next(found, {})
    return bool(record.get("epochs_asked", record.get("epochs", epochs)) != epochs)


def total(planned: Sequence[Planned], each: Mapping[str, float | None]) -> Total:
    """Return the sum of the seconds by stage name."""
    known = dict.fromkeys(Fate, 0.0)
    for entry in planned:
        known[entry.fate] += each[entry.stage.name] or 0.0
    least, most = known[Fate.RUN], known[Fate.RUN] + known[Fate.MAY]
    unknown = tuple(entry.stage.name for entry in planned if each[entry.stage.name] is None)
    return Total(round(least, 1), round(most, 1), unknown)


def run_statistics(stage: Stage) -> dict[str, Any]:
    """Return the run statistics of the stage's last run here; empty if there was none."""
    folder = options(stage).get("run_statistics")
    name = module(stage).rpartition(".")[2]
    try:
        found = json.loads((Path(folder or ".") / f"{name}.json").read_text(encoding="utf-8"))
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

"""Estimate the passes of a plan through the backbone.

Knows the stages only by the modules that their commands name. Facts that need the stages'
own code (which images are used, what the feature store holds) are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from headstart._utils.tables import counted
from headstart.pipeline.plan import Fate, Planned, module, options

EXTRACTION = "stages.extract_features"
FINE_TUNE = "stages.fine_tune"
EVALUATE = "stages.evaluate"
STILL = {Fate.UNCHANGED, Fate.RESTORE}


class UnknownError(Exception):
    """There is no estimate yet; the message says why.

    Parameters
    ----------
    why : str
    most : int, optional
        Upper bound of the number that is asked for.
    """

    def __init__(self, why: str, most: int | None = None) -> None:
        super().__init__(why.removesuffix("."))  # It stands in parentheses.
        self.most = most


class Wanted(NamedTuple):
    """The features that the extraction records, by the keys of the feature store.

    ``exact`` is False if some of the images may turn out to be unusable.
    """

    images: Sequence[str]
    views: Sequence[str] = ()
    exact: bool = True


class Missing(NamedTuple):
    """The number of features that the stores lack, as a range; and the seconds per pass."""

    least: int
    most: int
    seconds_each: float | None = None


@dataclass(frozen=True)
class Passes:
    """The number of images that the next run would send through the frozen backbone.

    Attributes
    ----------
    needed : int or None
        At most; None: it cannot be known yet.
    of : int or None
        Different images in use; None if that does not matter or is not known.
    views : int
        Different augmented views of training images that are recorded, too.
    at_most : bool
        ``needed`` is a bound: fewer may do.
    least : int
        The lower bound, where ``needed`` is an upper bound.
    seconds_each : float or None
        Mean duration of the passes so far.
    why : str
        Explanation of the numbers.
    """

    needed: int | None
    of: int | None = None
    views: int = 0
    at_most: bool = False
    least: int = 0
    seconds_each: float | None = None
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        if self.needed is None:
            return f"Passes: unknown{why}."
        if self.of is None:
            return f"Passes: none{why}."
        most = (f"{self.least:,} to " if self.least else "up to ") if self.at_most else ""
        count = f"{most}{self.needed:,}" if self.needed else "none"
        verb = "need" if self.needed > 1 else "needs"
        of = counted(self.of, "image")
        if self.views:
            each = f"{of} and {counted(self.views, 'view')} of training images"
            of = f"{self.of + self.views:,} ({each})"
        return f"Passes: {count} of {of} {verb} one through the backbone{why}."


@dataclass(frozen=True)
class Tuning:
    """The images that fine-tuning, and evaluating its model, may send through the network.

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
            f", and up to {counted(self.views, 'augmented view')}, new ones in every epoch"
            if self.views
            else ""
        )
        images = counted(self.images, "image")
        return f"Fine-tuning: up to {images} {where} (none if cached already){views}."


def passes(
    planned: Sequence[Planned],
    images: Callable[[Path | None], Wanted],
    missing: Callable[[Path | None, Wanted], Missing],
) -> Passes:
    """Estimate the passes of the extraction.

    Parameters
    ----------
    planned : sequence of Planned
    images : callable
        Image manifest to the images that division and sample will leave in use, and their views;
        None for a manifest that is going to be made.
    missing : callable
        Backbone folder, or None for one that is going to be made, and these to how many of them the
        feature stores lack.

    Both raise :class:`UnknownError` if there is no answer yet.
    """
    by_module = {module(entry.stage): entry for entry in planned}
    extraction = by_module.get(EXTRACTION)
    if extraction is None or extraction.fate in STILL:
        return Passes(0, why="the features are there")
    try:
        wanted = images(manifest(planned))
    except UnknownError as error:
        if error.most is None:
            return Passes(None, why=str(error))
        return Passes(error.most, error.most, at_most=True, why=f"{error}")
    count, views = len(wanted.images), len(wanted.views)
    fixed = by_module["stages.backbone"].fate == Fate.UNCHANGED
    folder = Path(options(extraction.stage)["backbone_folder"]) if fixed else None
    try:
        least, most, each = missing(folder, wanted)
    except UnknownError as error:
        return Passes(count + views, count, views, at_most=True, why=str(error))
    why = "" if least == most else _CACHED
    if not wanted.exact:
        least, why = 0, _UNREAD
    return Passes(most, count, views, least != most, least if least != most else 0, each, why)


_CACHED = "some of them may be cached, which the weights decide"
_UNREAD = "some files may turn out to be unusable"


def tuning(
    planned: Sequence[Planned],
    epochs: int,
    images: Callable[[Path | None], Mapping[str, int]],
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
        Image manifest, None if it is going to be made, to the number of images in use by split.
        Raises :class:`UnknownError` if there is no answer yet.
    augmented : bool
        Whether training images are changed in every epoch.
    """
    moving = {module(entry.stage) for entry in planned if entry.fate not in STILL}
    splits = {"train", "validation"} if FINE_TUNE in moving else set()
    splits |= {"test"} if EVALUATE in moving else set()
    if not epochs or not splits:
        return None
    try:
        counts = images(manifest(planned))
    except UnknownError as error:
        return Tuning(None, why=str(error))
    views = 0
    if augmented and "train" in splits:
        splits.remove("train")
        views = epochs * counts["train"]
    return Tuning(sum(counts[name] for name in splits), views)


def manifest(planned: Sequence[Planned]) -> Path | None:
    """Return the manifest of all images if it is going to stay as it is; None if not."""
    split = next(entry.stage for entry in planned if module(entry.stage) == "stages.split")
    for entry in planned:
        if entry.stage.name in split.parents and entry.fate != Fate.UNCHANGED:
            return None
    return Path(options(split)["images"])

"""Divides the images into train, validation and test by a hash of their content.

Adding, renaming or moving an image never moves another one to another split; byte-identical
images, and images of one group, share a split. The one exception is a class so small that the
hash left one of its splits empty: its nearest image is moved there, and named in the metrics.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from headstart._utils import tables
from headstart._utils.errors import HeadstartError
from headstart._utils.tables import plain
from headstart.datasets.manifests import SPLITS, class_names
from headstart.datasets.parameters import SplitParams
from headstart.datasets.split_groups import Unit, make_units, unit_names


@dataclass(frozen=True)
class Division:
    """A divided manifest, and what a person should know about how it came about.

    Attributes
    ----------
    manifest : DataFrame
        The image manifest with a column ``split``.
    kept : tuple of str
        The splits that stand as the source gave them.
    held_out : str
        Name that the source gave to the test split ("" if none was given).
    leaked : int
        Images that the source has in two splits; all their copies went to train.
    two_labels : int
        Images of which byte-identical copies stand under different labels.
    repaired : dict of str to dict
        For each class that the hash left without images in a split: units moved, by split.
    absent : dict of str to list
        Classes without an image in a given split, by split.
    """

    manifest: pd.DataFrame
    kept: tuple[str, ...]
    held_out: str
    leaked: int
    two_labels: int
    repaired: Mapping[str, Mapping[str, int]]
    absent: Mapping[str, Sequence[str]]


def split(images: pd.DataFrame, params: SplitParams, seed: int) -> pd.DataFrame:
    """``images`` with a column ``split``; see :func:`divide`."""
    return divide(images, params, seed).manifest


def divide(images: pd.DataFrame, params: SplitParams, seed: int) -> Division:
    """Assign every image to a split.

    A unit's place ``u`` in [0, 1) is a hash of its name and the seed: below ``test`` it belongs to
    test, below ``test + validation`` to validation, else to train. With ``given: keep``, a split
    that the source gives stands, and only those that it does not give are cut, by the same
    places, from the images that are given as train or not at all. A source with one held-out
    part under the name "validation" has its test split there: what chooses the model must not be
    what judges it.

    Parameters
    ----------
    images : DataFrame
        Image manifest, in any order.
    params : SplitParams
    seed : int

    Raises
    ------
    HeadstartError
        If there are no images, or a class has too few to be in every split that is cut.
    """
    if images.empty:
        raise HeadstartError("There are no images to divide: the image manifest has no rows.")
    given, held_out = _given(images, params)
    names = unit_names(images)
    units = make_units(names, images["label"], given, seed)
    kept = tuple(name for name in SPLITS[1:] if (given == name).any())
    places = _intervals(params, kept)
    assigned = {unit.name: _place(unit, places) for unit in units}
    free = [unit for unit in units if unit.given <= {"train"}]
    _refuse_small_classes(units, free, places, kept)
    repaired = _repair(units, free, assigned, places)
    manifest = images.assign(split=names.map(assigned).astype("str"))
    labels_of = images.groupby("image_id")["label"].nunique()
    return Division(
        manifest=manifest,
        kept=("train", *kept) if (given == "train").any() and len(kept) == 2 else kept,
        held_out=held_out,
        leaked=_leaked(images, names, units),
        two_labels=int((labels_of > 1).sum()),
        repaired=repaired,
        absent=_absent(manifest, kept),
    )


def _given(images: pd.DataFrame, params: SplitParams) -> tuple[pd.Series[str], str]:
    """The given splits as they are used ("" for none), and the source's name for its test part."""
    given = images["given_split"]
    if params.given == "ignore":
        return pd.Series("", index=images.index, dtype="str"), ""
    if (given == "test").any():
        return given, "test"
    if (given == "validation").any():
        return given.replace("validation", "test"), "validation"
    return given, ""


def _intervals(params: SplitParams, kept: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The places of each split that is cut; train takes every place that is left."""
    low, high = params.test, params.test + params.validation
    cut = {"test": (0.0, low), "validation": (low, high)}
    cut = {name: bounds for name, bounds in cut.items() if name not in kept}
    bounds = [end for pair in cut.values() for end in pair]
    if not cut:
        return {"train": (0.0, 1.0)}
    # With the test split given, validation is cut from the middle and train lies on both sides;
    # its upper side is as near as any for a repair.
    return {**cut, "train": (max(bounds), 1.0)}


def _place(unit: Unit, places: Mapping[str, tuple[float, float]]) -> str:
    if len(unit.given) > 1:
        # In two given splits: out of what judges and chooses, so that these stay clean.
        return "train"
    held_out = unit.given - {"train"}
    if held_out:
        return next(iter(held_out))
    for name, (low, high) in places.items():
        if low <= unit.u < high:
            return name
    return "train"


def _refuse_small_classes(
    units: Iterable[Unit],
    free: Iterable[Unit],
    places: Mapping[str, tuple[float, float]],
    kept: Sequence[str],
) -> None:
    """Stop if a class has fewer units than there are splits to cut."""
    needed = len(places)
    counts = Counter(label for unit in free for label in unit.labels)
    # One that leaks stays in train, and so fills that split and no other.
    counts.update({label for unit in units if len(unit.given) > 1 for label in unit.labels})
    every = {label for unit in units for label in unit.labels}
    small = {label: counts[label] for label in sorted(every) if counts[label] < needed}
    if not small:
        return
    shown = ", ".join(f"{label!r} ({count})" for label, count in list(small.items())[:10])
    more = f" and {len(small) - 10} more" if len(small) > 10 else ""
    left = " outside of the given " + " and ".join(kept) if kept else ""
    ways = "add images, join it with another class, or take its folder out of the source"
    raise HeadstartError(
        f"Too few different images{left} in {shown}{more}. Every class needs {needed} or more, "
        f"one for each of {', '.join(name for name in SPLITS if name in places)} (copies of a "
        f"image, and images of one group, count once). Nothing was divided. To go on: {ways}"
        + ("; or divide anew with `split.given: ignore`." if kept else ".")
    )


def _repair(
    units: Sequence[Unit],
    free: Sequence[Unit],
    assigned: dict[str, str],
    places: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, int]]:
    """Fill the splits that the hash left empty in a class; changes ``assigned``."""
    counts = Counter((label, assigned[unit.name]) for unit in units for label in unit.labels)
    members: dict[str, list[Unit]] = defaultdict(list)
    for unit in free:
        for label in unit.labels:
            members[label].append(unit)
    repaired: dict[str, dict[str, int]] = {}
    for label in sorted(members):
        for name, bounds in places.items():
            if counts[label, name]:
                continue
            unit = _nearest(label, members[label], bounds, assigned, counts)
            for each in unit.labels:
                counts[each, assigned[unit.name]] -= 1
                counts[each, name] += 1
            assigned[unit.name] = name
            repaired.setdefault(label, {})[name] = 1
    return repaired


def _nearest(
    label: str,
    members: Iterable[Unit],
    bounds: tuple[float, float],
    assigned: Mapping[str, str],
    counts: Mapping[tuple[str, str], int],
) -> Unit:
    """The unit nearest to an interval whose move empties no split of any of its classes."""
    low, high = bounds
    movable = [
        (len(unit.labels) > 1, max(low - unit.u, unit.u - high), unit.name, unit)
        for unit in members
        if all(counts[each, assigned[unit.name]] > 1 for each in unit.labels)
    ]
    if not movable:
        raise HeadstartError(
            f"The class {label!r} cannot be in every split: its images are tied to those of "
            "other classes (copies under two labels, or groups over several classes). Nothing was "
            "divided. Remove the copies from all classes but one, or add images to it."
        )
    return min(movable, key=lambda entry: entry[:3])[3]


def _leaked(images: pd.DataFrame, names: pd.Series[str], units: Iterable[Unit]) -> int:
    leaking = {unit.name for unit in units if len(unit.given) > 1}
    return int(images.loc[names.isin(leaking), "image_id"].nunique())


def _absent(manifest: pd.DataFrame, kept: Iterable[str]) -> dict[str, list[str]]:
    every = class_names(manifest)
    found = {name: set(manifest.loc[manifest["split"] == name, "label"]) for name in kept}
    missing = {name: [label for label in every if label not in found[name]] for name in kept}
    return {name: labels for name, labels in missing.items() if labels}


def counts(manifest: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Rows by split and class, zeros included."""
    labels = class_names(manifest)
    table = Counter(zip(manifest["split"], manifest["label"], strict=True))
    return {name: {label: table[name, label] for label in labels} for name in SPLITS}


def measures(division: Division) -> dict[str, object]:
    """The division in numbers, for the metrics file."""
    by_class = counts(division.manifest)
    return {
        "images": {name: sum(of.values()) for name, of in by_class.items()},
        # A list, which DVC's tables of metrics leave out: three columns a class would fill them.
        "classes": [
            {"label": label, **{name: of[label] for name, of in by_class.items()}}
            for label in class_names(division.manifest)
        ],
        "given_kept": list(division.kept),
        "held_out_given_as": division.held_out,
        "leaked_given": division.leaked,
        "under_two_labels": division.two_labels,
        "repaired": [{"label": label, **of} for label, of in division.repaired.items()],
        "absent_from_given": {name: list(labels) for name, labels in division.absent.items()},
    }


def report(division: Division) -> str:
    """The division for a terminal: a line for each class (20 at most), and the notes."""
    by_class = counts(division.manifest)
    labels = class_names(division.manifest)
    shown = labels if len(labels) <= 20 else labels[:19]
    blocks = [(label, [label]) for label in shown]
    if len(shown) < len(labels):
        blocks.append((f"{len(labels) - len(shown)} more classes", labels[len(shown) :]))
    blocks.append(("all", labels))
    rows = [
        (title, *(f"{sum(by_class[name][label] for label in of):,}" for name in SPLITS))
        for title, of in blocks
    ]
    return "\n".join([tables.columns([("", *SPLITS), *rows], "lrrr"), *_notes(division)])


def _notes(division: Division) -> list[str]:
    notes = []
    if division.kept:
        notes.append(f"Kept as the source gives them: {', '.join(division.kept)}.")
    if division.held_out == "validation":
        notes.append(
            "The source's held-out part is called validation; it is the test split here, and a "
            "validation split was cut from train, so that what chooses the model does not judge it."
        )
    if division.leaked:
        notes.append(
            f"Images in more than one given split: {division.leaked:,}; all their copies went to "
            "train."
        )
    if division.two_labels:
        notes.append(
            f"Images under more than one label, byte for byte: {division.two_labels:,}; all but "
            "one of the labels must be wrong."
        )
    notes += [
        f"Class {plain(label)}: the hash left {' and '.join(of)} empty; the nearest image moved."
        for label, of in division.repaired.items()
    ]
    notes += [
        f"No image in the given {name} of: {', '.join(map(plain, labels))}."
        for name, labels in division.absent.items()
    ]
    return notes

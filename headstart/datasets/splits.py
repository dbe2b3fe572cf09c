"""Split the images into train, validation and test by a hash of their content.

Byte-identical images, and images of one group, share a split. No rule that looks at the present
images alone can be exact and perfectly stable: the hash alone is stable, but in small classes far
from the shares; ranks alone are exact, but every image that is added moves others. So the hash
decides, within limits:

* In each class, test and validation get between half and one and a half times their share, and at
  least one. Within these limits, the hash alone decides: adding, removing, renaming or moving an
  image never moves another one. Classes of 200 and more are practically always within.
* Beyond a limit, the images nearest to the split by their hash join it, or the farthest leave it,
  up to the limit. Then adding or removing an image moves at most three others, of its class.
* Images of other classes never matter, unless an image or a group is in several classes.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from headstart._utils import seeds
from headstart._utils.errors import HeadstartError
from headstart.datasets.division import Division
from headstart.datasets.groups import hold_together
from headstart.datasets.manifests import SPLITS
from headstart.datasets.parameters import SplitParams


@dataclass
class SplitGroup:
    """Images that must share a split: all copies of one image, or all images of a group.

    Attributes
    ----------
    name : str
        The group, or the image's id.
    u : float
        A hash of name and seed in [0, 1), which decides the split.
    labels, predefined : frozenset of str
        Classes and predefined splits of its images.
    large : bool
        Whether it is a series of similar images that is too large for validation or test.
    split : str
        The split that it is assigned to.
    """

    name: str
    u: float
    labels: frozenset[str]
    predefined: frozenset[str]
    large: bool = False
    split: str = "train"

    @property
    def fixed(self) -> bool:
        """Whether it stays in train, out of the splits that judge and choose."""
        return self.large or len(self.predefined) > 1


def split(
    images: pd.DataFrame,
    params: SplitParams,
    seed: int,
    duplicates: Mapping[str, str] | None = None,
) -> Division:
    """Assign every image to a split.

    A group's hash ``u`` is in [0, 1): below ``test`` the group belongs to test, below
    ``test + validation`` to validation, else to train, within the limits above. With
    ``predefined: keep``, the splits that the source defines are kept, and only the others are
    taken, by the same hash, from the images that are predefined as train or not at all. If the
    source has one held-out part under the name "validation", it becomes the test split: the images
    that choose the model must not judge it.

    Parameters
    ----------
    images : DataFrame
        Image manifest, in any order.
    params : SplitParams
    seed : int
    duplicates : mapping of str to str, optional
        Group of near duplicates by image id; see :func:`headstart.datasets.groups.hold_together`.

    Raises
    ------
    HeadstartError
        If there are no images, if a class has too few to be in every split that is taken, or if
        nothing is left of a predefined split, because its images are in another one, too.
    """
    if images.empty:
        raise HeadstartError("There are no images to split: the image manifest has no rows.")
    predefined, held_out = _predefined(images, params)
    kept = tuple(name for name in SPLITS[1:] if (predefined == name).any())
    intervals = _intervals(params, kept)
    together = hold_together(
        images, predefined, duplicates or {}, params.duplicates, least=len(intervals)
    )
    names = together.names
    groups = _groups(names, images["label"], predefined, seed, together.large)
    for group in groups:
        group.split = _split_of(group, intervals)
    free = [group for group in groups if group.predefined <= {"train"} and not group.large]
    _refuse_small_classes(groups, free, intervals, kept)
    repaired = _limit(groups, free, intervals)
    _fill(groups, free, intervals, repaired)
    assigned = {group.name: group.split for group in groups}
    manifest = images.assign(split=names.map(assigned).astype("str"))
    _refuse_empty(manifest["split"], kept, held_out, len(images))
    labels = images.groupby("image_id")["label"].nunique()
    absent = {
        name: set(manifest["label"]) - set(manifest.loc[manifest["split"] == name, "label"])
        for name in kept
    }
    several = {group.name for group in groups if len(group.predefined) > 1}
    return Division(
        manifest=manifest,
        kept=("train", *kept) if (predefined == "train").any() and len(kept) == 2 else kept,
        held_out=held_out,
        leaked_groups=sorted(several & set(images["group"])),
        leaked=int(images.loc[names.isin(several), "image_id"].nunique()),
        two_labels=int((labels > 1).sum()),
        repaired=repaired,
        absent={name: sorted(missing) for name, missing in absent.items() if missing},
        together=together,
    )


def _groups(
    names: pd.Series[str],
    labels: pd.Series[str],
    predefined: pd.Series[str],
    seed: int,
    large: Collection[str],
) -> list[SplitGroup]:
    """Return the split groups of a manifest, sorted by name."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for name, label, part in zip(names, labels, predefined, strict=True):
        found[name][0].add(label)
        found[name][1].add(part)
    return [
        SplitGroup(
            name,
            seeds.uniform(seed, "split", name),
            frozenset(of),
            frozenset(parts - {""}),
            name in large,
        )
        for name, (of, parts) in sorted(found.items())
    ]


def _predefined(images: pd.DataFrame, params: SplitParams) -> tuple[pd.Series[str], str]:
    """Return the predefined splits to keep ("" for none), and the source's name for test."""
    predefined = images["predefined_split"]
    if params.predefined == "ignore":
        return pd.Series("", index=images.index, dtype="str"), ""
    if (predefined == "test").any():
        return predefined, "test"
    if (predefined == "validation").any():
        return predefined.replace("validation", "test"), "validation"
    return predefined, ""


def _intervals(params: SplitParams, kept: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the interval of ``u`` of each split that is taken; train has all that is left."""
    low, high = params.test, params.test + params.validation
    taken = {"test": (0.0, low), "validation": (low, high)}
    taken = {name: bounds for name, bounds in taken.items() if name not in kept}
    if not taken:
        return {"train": (0.0, 1.0)}
    # With a predefined test split, validation lies in the middle and train on both sides; its
    # upper side is as near as any for a repair.
    return {**taken, "train": (max(end for _, end in taken.values()), 1.0)}


def _split_of(group: SplitGroup, intervals: Mapping[str, tuple[float, float]]) -> str:
    if group.fixed:
        return "train"
    if held_out := group.predefined - {"train"}:
        return next(iter(held_out))
    inside = (name for name, (low, high) in intervals.items() if low <= group.u < high)
    return next(inside, "train")


def _refuse_small_classes(
    groups: Iterable[SplitGroup],
    free: Iterable[SplitGroup],
    intervals: Mapping[str, tuple[float, float]],
    kept: Sequence[str],
) -> None:
    """Stop if a class has fewer split groups than there are splits to take."""
    needed = len(intervals)
    counts = Counter(label for group in free for label in group.labels)
    # A group in several predefined splits stays in train, and so fills that split and no other.
    counts.update({label for group in groups if group.fixed for label in group.labels})
    every = {label for group in groups for label in group.labels}
    small = {label: counts[label] for label in sorted(every) if counts[label] < needed}
    if not small:
        return
    shown = ", ".join(f"{label!r} ({count})" for label, count in list(small.items())[:10])
    more = f" and {len(small) - 10} more" if len(small) > 10 else ""
    outside = f" outside of the predefined {' and '.join(kept)}" if kept else ""
    raise HeadstartError(
        f"Too few different images{outside} in {shown}{more}. Every class needs {needed} or more, "
        f"one for each of {', '.join(name for name in SPLITS if name in intervals)} (copies of an "
        "image, and images of one group, count once). Nothing was split. To continue, add images, "
        "merge the class with another one, or remove its folder from the source"
        + ("; or split anew with `split.predefined: ignore`." if kept else ".")
    )


def _refuse_empty(assigned: pd.Series[str], kept: Sequence[str], held_out: str, rows: int) -> None:
    """Stop if every image of a predefined split went to train, as images in two splits do."""
    present = set(assigned)
    for name in kept:
        if name not in present:
            source = held_out if name == "test" else name
            raise HeadstartError(
                f"Nothing is left of the predefined split {source}: all its images are in another "
                f"predefined split, too (byte for byte, or by their group), and went to train. "
                f"Nothing was split, of {rows:,} images. Remove the copies from one of the splits; "
                "or split anew with `split.predefined: ignore`, which keeps the copies of an image "
                "together."
            )


def limits(share: float, count: int) -> tuple[int, int]:
    """Return the least and the largest part of ``count`` groups that a split of a share gets."""
    # Rounded to nine digits: 1.5 × 0.1 × 20 is not quite 3.
    least = math.floor(round(share * count / 2, 9) + 0.5)
    return max(1, least), max(1, math.ceil(round(1.5 * share * count, 9)))


def _limit(
    groups: Sequence[SplitGroup],
    free: Sequence[SplitGroup],
    intervals: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, int]]:
    """Move the groups of one class that the limits of its splits move; return them by class."""
    single: dict[str, list[SplitGroup]] = defaultdict(list)
    for group in sorted(free, key=lambda group: (group.u, group.name)):
        if len(group.labels) == 1:
            single[next(iter(group.labels))].append(group)
    tied = Counter(
        (label, group.split)
        for group in groups
        if len(group.labels) > 1 or group.fixed
        for label in group.labels
    )
    counts = Counter(label for group in free for label in group.labels)
    repaired: dict[str, dict[str, int]] = {}
    for label, members in sorted(single.items()):
        held = {name: tied[label, name] for name in intervals}
        moved: Counter[str] = Counter()
        for group, name in zip(
            members, _in_limits(members, counts[label], intervals, held), strict=True
        ):
            moved[name] += name != group.split
            group.split = name
        if moved.total():
            repaired[label] = {name: moved[name] for name in intervals if moved[name]}
    return repaired


def _in_limits(
    members: Sequence[SplitGroup],
    count: int,
    intervals: Mapping[str, tuple[float, float]],
    held: Mapping[str, int],
) -> list[str]:
    """Return the splits of a class's groups, which are sorted by ``u``.

    Parameters
    ----------
    members : sequence of SplitGroup
        Of this class alone.
    count : int
        All groups of the class that may move, those of several classes included.
    intervals : mapping of str to (float, float)
    held : mapping of str to int
        Groups of the class in each split that stay there.
    """
    taken = {name: bounds for name, bounds in intervals.items() if name != "train"}
    shares = {name: high - low for name, (low, high) in taken.items()}
    shares["train"] = 1 - sum(shares.values())
    least = {name: max(0, limits(share, count)[0] - held[name]) for name, share in shares.items()}
    splits = ["train"] * len(members)
    # Where test is kept, the groups below the interval of validation are train.
    place = bisect_left(members, min((low for low, _ in taken.values()), default=0), key=_place)
    place = min(place, max(0, len(members) - sum(least[name] for name in taken)))
    needed = sum(least.values()) - min(place, least["train"])
    for name, (_, high) in taken.items():
        needed -= least[name]
        stated = bisect_left(members, high, key=_place) - place
        most = max(0, limits(shares[name], count)[1] - held[name])
        room = max(0, len(members) - place - needed)
        number = min(max(stated, least[name]), most, room)
        splits[place : place + number] = [name] * number
        place += number
    return splits


def _place(group: SplitGroup) -> float:
    return group.u


def _fill(
    groups: Sequence[SplitGroup],
    free: Sequence[SplitGroup],
    intervals: Mapping[str, tuple[float, float]],
    repaired: dict[str, dict[str, int]],
) -> None:
    """Fill the splits of classes that are empty because groups are in several classes."""
    counts = Counter((label, group.split) for group in groups for label in group.labels)
    for label in sorted({label for group in free for label in group.labels}):
        for name, bounds in intervals.items():
            if counts[label, name]:
                continue
            members = [group for group in free if label in group.labels]
            group = _nearest(label, members, bounds, counts)
            for each in group.labels:
                counts[each, group.split] -= 1
                counts[each, name] += 1
            group.split = name
            moved = repaired.setdefault(label, {})
            moved[name] = moved.get(name, 0) + 1


def _nearest(
    label: str,
    members: Iterable[SplitGroup],
    bounds: tuple[float, float],
    counts: Mapping[tuple[str, str], int],
) -> SplitGroup:
    """Return the group nearest to an interval whose move empties no split of its classes."""
    low, high = bounds
    movable = [
        group for group in members if all(counts[each, group.split] > 1 for each in group.labels)
    ]
    if not movable:
        raise HeadstartError(
            f"The class {label!r} cannot be in every split: its images are tied to those of other "
            "classes (copies under two labels, or groups over several classes). Nothing was split. "
            "Remove the copies from all classes but one, or add images to it."
        )
    return min(
        movable,
        key=lambda group: (len(group.labels) > 1, max(low - group.u, group.u - high), group.name),
    )

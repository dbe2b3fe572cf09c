"""Keep the splits of every class within limits, where the hash made them too small or too large."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headstart._utils.errors import HeadstartError


@dataclass(slots=True)
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
        True if it is a series of similar images that is too large for validation or test.
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
        """True if it stays in train, and out of validation and test."""
        return self.large or len(self.predefined) > 1


def limits(share: float, count: int) -> tuple[int, int]:
    """Return the least and the largest part of ``count`` groups that a split of a share gets."""
    # Rounded to nine digits: 1.5 × 0.1 × 20 is not quite 3.
    least = math.floor(round(share * count / 2, 9) + 0.5)
    return max(1, least), max(1, math.ceil(round(1.5 * share * count, 9)))


def keep_in_limits(
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


def fill_empty(
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

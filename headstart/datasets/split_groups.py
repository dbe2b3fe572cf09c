"""Which images stay together when a manifest is divided."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pandas as pd

from headstart._utils import seeds


@dataclass(frozen=True)
class Unit:
    """Images that must share a split: all copies of one image, or all images of a group.

    Attributes
    ----------
    name : str
        The group, or the image's id.
    u : float
        Its place in [0, 1): a hash of name and seed.
    labels, given : frozenset of str
        Classes and given splits in which it stands.
    """

    name: str
    u: float
    labels: frozenset[str]
    given: frozenset[str]


def unit_names(images: pd.DataFrame) -> pd.Series[str]:
    """For each row the name of its unit: the group, else the image.

    Where copies of one image stand in several groups (or in and out of one), all of these are
    one unit, named by the first group.
    """
    grouped = images.loc[images["group"] != "", ["image_id", "group"]].drop_duplicates()
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while (above := parent.setdefault(group, group)) != group:
            group = above
        return group

    group_of: dict[str, str] = {}
    for image_id, group in grouped.itertuples(index=False):
        one, other = root(group), root(group_of.setdefault(image_id, group))
        parent[max(one, other)] = min(one, other)
    names = {image_id: root(group) for image_id, group in group_of.items()}
    return images["image_id"].map(lambda image_id: names.get(image_id, image_id)).astype("str")


def make_units(
    names: pd.Series[str], labels: pd.Series[str], given: pd.Series[str], seed: int
) -> list[Unit]:
    """The units of a manifest, sorted by name.

    Parameters
    ----------
    names, labels, given : Series of str
        For each row its unit, class and given split ("" for none).
    seed : int
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    given_of: dict[str, set[str]] = defaultdict(set)
    for name, label, part in zip(names, labels, given, strict=True):
        labels_of[name].add(label)
        given_of[name].add(part)
    return [
        Unit(
            name=name,
            u=seeds.uniform(seed, "split", name),
            labels=frozenset(labels_of[name]),
            given=frozenset(given_of[name] - {""}),
        )
        for name in sorted(labels_of)
    ]

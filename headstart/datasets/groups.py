"""Images that must share a split: copies, groups of the source, and near duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headstart._utils import tables
from headstart._utils.tables import counted, plain
from headstart._utils.unions import united

#: A group of near duplicates with more images than both is a series, and stays in train: in
#: validation or test, one object would decide the scores.
_LARGE_IMAGES = 10
_LARGE_SHARE = 0.05  # of a class


@dataclass(frozen=True)
class HeldTogether:
    """The split groups of a manifest.

    Attributes
    ----------
    names : Series of str
        For each row the name of its split group.
    large : frozenset of str
        Split groups that stay in train because they are large series of near duplicates.
    groups, images : int
        Groups of near duplicates that were taken into account, and their images.
    leaking : int
        Images of groups that lie in several predefined splits.
    moved : bool
        True if these went to train; otherwise they keep the split of the source.
    released : sequence of str
        Classes whose near duplicates are not held together: too few groups would be left.
    """

    names: pd.Series[str]
    large: frozenset[str]
    groups: int
    images: int
    leaking: int
    moved: bool
    released: Sequence[str]

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for the metrics file."""
        return {
            "groups": self.groups,
            "images": self.images,
            "series_in_train": len(self.large),
            "in_several_predefined_splits": self.leaking,
            "classes_not_held_together": list(self.released),
        }

    def notes(self) -> list[str]:
        """Return remarks for people, as sentences."""
        notes = []
        if self.groups:
            notes.append(
                f"Near duplicates: {counted(self.images, 'image')} in "
                f"{counted(self.groups, 'group')}; the images of a group share a split."
            )
        if self.large:
            notes.append(
                f"Large series of near duplicates: {len(self.large):,}; they stay in train, "
                "because one object would decide the scores."
            )
        if self.leaking and self.moved:
            notes.append(
                f"Near duplicates in several predefined splits: {counted(self.leaking, 'image')}; "
                "they went to train (`split.duplicates: train`)."
            )
        elif self.leaking:
            notes.append(
                f"Near duplicates in several predefined splits: {counted(self.leaking, 'image')}; "
                "they stay where the source has them, so the scores are too good. To move them to "
                "train, set `split.duplicates: train`."
            )
        if self.released:
            names = tables.listed([plain(name) for name in self.released])
            notes.append(
                f"Near duplicates are not held together in: {names}. Too few different images "
                "would be left to split, so the scores of these classes are too good. If they "
                "show one object many times, add images of others, or set `download.group`."
            )
        return notes


def group_names(
    images: pd.DataFrame, duplicates: Mapping[str, str] | None = None
) -> pd.Series[str]:
    """Return for each row the name of its split group: the group, else the image.

    Where copies of one image are in several groups (or in one and in none), all of these are one
    split group, named by the first. Near duplicates join the groups of their images; a group of
    the source gives the name.

    Parameters
    ----------
    images : DataFrame
        Image manifest.
    duplicates : mapping of str to str, optional
        The first image id of its group, by image id.
    """
    grouped = images.loc[images["group"] != "", ["image_id", "group"]].drop_duplicates()
    # Sorted by kind, so that a group of the source gives the name, and no image does.
    of_source = [((2, one), (0, group)) for one, group in grouped.itertuples(index=False)]
    of_duplicates = [((2, one), (1, group)) for one, group in (duplicates or {}).items()]
    first = united([*of_source, *of_duplicates])
    names = {one: name for (kind, one), (_, name) in first.items() if kind == 2}
    return images["image_id"].map(lambda image_id: names.get(image_id, image_id)).astype("str")


def hold_together(
    images: pd.DataFrame,
    predefined: pd.Series[str],
    duplicates: Mapping[str, str],
    mode: str,
    least: int,
) -> HeldTogether:
    """Return the split groups, with near duplicates joined as far as the classes allow.

    Parameters
    ----------
    images : DataFrame
        Image manifest.
    predefined : Series of str
        Predefined split of each row that is kept; "" for none.
    duplicates : mapping of str to str
        Group of near duplicates by image id.
    mode : {"together", "train", "ignore"}
        Whether groups that lie in several predefined splits stay there, go to train, or none
        counts.
    least : int
        Groups of its own that every class must keep.
    """
    group = images["image_id"].map(lambda image_id: duplicates.get(image_id, "")).astype("str")
    exact = group_names(images)
    if mode == "ignore" or (group == "").all():
        return HeldTogether(exact, frozenset(), 0, 0, 0, moved=False, released=())
    parts = predefined.replace("train", "").groupby(group).nunique()
    leaking = group.isin(parts[parts > 1].index) & (group != "")
    released: set[str] = set()
    while True:
        used = group.where(~images["label"].isin(released), "")
        names = group_names(images, _links(images, used, predefined, whole=mode == "train"))
        large = _large(images, names, exact)
        own = _own_groups(images["label"], names, predefined, large)
        before = _own_groups(images["label"], exact, predefined, frozenset())
        tight = {
            label for label, count in own.items() if count < least and count < before[label]
        } - released
        if not tight:
            break
        released |= tight
    held = used[used != ""]
    return HeldTogether(
        names=names,
        large=large,
        groups=int(held.nunique()),
        images=int(images.loc[held.index, "image_id"].nunique()),
        leaking=int(images.loc[leaking, "image_id"].nunique()),
        moved=mode == "train",
        released=sorted(released),
    )


def _links(
    images: pd.DataFrame, group: pd.Series[str], predefined: pd.Series[str], *, whole: bool
) -> dict[str, str]:
    """Return the first image of each image's group; groups end at predefined splits."""
    table = pd.DataFrame({"image_id": images["image_id"], "group": group, "part": ""})
    if not whole:
        table["part"] = predefined.replace("train", "")
    # A copy in two predefined splits is in train: it belongs to the part that is not held out.
    table = table[table["group"] != ""].sort_values(["image_id", "part"])
    table = table.drop_duplicates("image_id")
    first = table.groupby(["group", "part"])["image_id"].transform("min")
    return dict(zip(table["image_id"], first, strict=True))


def _large(images: pd.DataFrame, names: pd.Series[str], exact: pd.Series[str]) -> frozenset[str]:
    """Return the groups that near duplicates made larger than a class can spare."""
    counts = pd.DataFrame({"name": names, "exact": exact, "label": images["label"]})
    sizes = counts.drop_duplicates().groupby(["name", "label"]).size()
    whole = counts.drop_duplicates().groupby("label").size()
    most = (whole * _LARGE_SHARE).clip(lower=_LARGE_IMAGES)
    too_large = sizes[sizes > most.reindex(sizes.index.get_level_values("label")).to_numpy()]
    return frozenset(too_large.index.get_level_values("name"))


def _own_groups(
    labels: pd.Series[str],
    names: pd.Series[str],
    predefined: pd.Series[str],
    large: frozenset[str],
) -> dict[str, int]:
    """Return for each class its groups that are in no other class, and that may move."""
    table = pd.DataFrame({"label": labels, "name": names, "held": ~predefined.isin(["", "train"])})
    of = table.groupby("name").agg(classes=("label", "nunique"), held=("held", "any"))
    fit = of.index[(of["classes"] == 1) & ~of["held"] & ~of.index.isin(large)]
    found = table[table["name"].isin(fit)].groupby("label")["name"].nunique()
    return {label: int(found.get(label, 0)) for label in labels.unique()}

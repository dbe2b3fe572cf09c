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

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import pandas as pd

from headstart._utils import seeds
from headstart._utils.errors import HeadstartError
from headstart.datasets.division import Division
from headstart.datasets.groups import hold_together
from headstart.datasets.manifests import SPLITS
from headstart.datasets.parameters import SplitParams
from headstart.datasets.split_limits import SplitGroup, fill_empty, keep_in_limits


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
    repaired = keep_in_limits(groups, free, intervals)
    fill_empty(groups, free, intervals, repaired)
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
    # Most groups are one image, and share their sets with the others of its class.
    sets: dict[frozenset[str], frozenset[str]] = {}
    found: dict[str, SplitGroup] = {}
    # Lists, because a column of text takes ten times as long to iterate.
    columns = (column.tolist() for column in (names, labels, predefined))
    for name, label, part in zip(*columns, strict=True):
        of, parts = frozenset({label}), frozenset({part} - {""})
        group = found.get(name)
        if group is not None:
            of, parts = of | group.labels, parts | group.predefined
        of, parts = sets.setdefault(of, of), sets.setdefault(parts, parts)
        if group is None:
            u = seeds.uniform(seed, "split", name)
            found[name] = SplitGroup(name, u, of, parts, name in large)
        else:
            group.labels, group.predefined = of, parts
    return [found[name] for name in sorted(found)]


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
        + ("; or split again with `split.predefined: ignore`." if kept else ".")
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
                "or split again with `split.predefined: ignore`, which keeps the copies of an "
                "image together."
            )

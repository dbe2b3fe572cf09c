"""Advice on weak numbers: the shortage, its effect, and the parameter that helps.

To add advice, write its function and its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart._utils.tables import counted, listed, plain
from headstart.datasets.manifests import SPLITS, class_names

if TYPE_CHECKING:
    import pandas as pd

#: Fewer test or validation images of a class say little of it.
FEW_TEST, FEW_VALIDATION = 10, 5
#: A class with at most this share of another one's training images is rarely predicted.
RARE = 1 / 20


@dataclass(frozen=True)
class Known:
    """The facts that advice is based on.

    Attributes
    ----------
    counts : mapping of str to mapping
        Split to class to number of images, zeros included.
    features : int or None
        Numbers that the head reads of each image; None if they are not known yet.
    """

    counts: Mapping[str, Mapping[str, int]]
    features: int | None = None


def few_test(known: Known) -> str:
    """Return advice on classes whose own scores rest on few test images; "" for none."""
    few = _below(known.counts["test"], FEW_TEST)
    return few and (
        f"Fewer than {FEW_TEST} test images of {few}: with so few, one image more or less changes "
        "the scores of a class by 10 points or more. Raise `split.test`, or add images."
    )


def few_validation(known: Known) -> str:
    """Return advice on classes with few validation images; "" for none."""
    few = _below(known.counts["validation"], FEW_VALIDATION)
    return few and (
        f"Fewer than {FEW_VALIDATION} validation images of {few}: the choice of the epoch and of "
        "the model hardly depends on them. Raise `split.validation`, or add images."
    )


def rare_class(known: Known) -> str:
    """Return advice on classes with a twentieth of another one's training images; "" for none."""
    train = known.counts["train"]
    most = max(train.values(), default=0)
    rare = {label: count for label, count in train.items() if count <= RARE * most}
    if not rare or not most:
        return ""
    largest = next(label for label, count in train.items() if count == most)
    return (
        f"At most a twentieth of the training images of '{plain(largest)}' ({most:,}): "
        f"{_named(rare)}. A model rarely predicts such a class, and the accuracy hides it. Set "
        "`train_head.class_weights: balanced`, compare the macro-averaged F1, or add images."
    )


def few_images(known: Known) -> str:
    """Return advice on fewer training images than features; "" if there are enough."""
    images = sum(known.counts["train"].values())
    if known.features is None or images >= known.features:
        return ""
    return (
        f"{counted(images, 'training image')} and {known.features:,} features: a head can learn "
        "them by heart. Add images or views (`extract_features.views`), raise "
        "`train_head.weight_decay`, or take fewer features (`backbone.pooling: avg`, a smaller "
        "`backbone.alpha`)."
    )


#: All advice, in the order in which it is given.
ADVICE: tuple[Callable[[Known], str], ...] = (few_test, few_validation, rare_class, few_images)


def advice(known: Known) -> list[str]:
    """Return the advice that applies, as sentences."""
    return [said for function in ADVICE if (said := function(known))]


def by_class(manifest: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the images of each split and class of a manifest, zeros included."""
    found = Counter(zip(manifest["split"].tolist(), manifest["label"].tolist(), strict=True))
    labels = class_names(manifest)
    return {name: {label: found[name, label] for label in labels} for name in SPLITS}


def lines(sentences: Sequence[str]) -> list[str]:
    """Return advice for a terminal."""
    return [f"ADVICE: {plain(sentence)}" for sentence in sentences]


def _below(counts: Mapping[str, int], least: int) -> str:
    """Return the classes with fewer images, with their numbers; "" if there are none."""
    return _named({label: count for label, count in counts.items() if count < least})


def _named(counts: Mapping[str, int]) -> str:
    rising = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return listed([f"'{plain(label)}' ({count:,})" for label, count in rising])

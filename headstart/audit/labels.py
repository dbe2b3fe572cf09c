"""Label issues, outliers and overlapping classes, from the cached features alone.

Test images are judged by the others, and judge none: no test label affects the judgment of an image
that is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.audit.doubt import Judge, Shares, fit_judge, wrong
from headstart.audit.logistic import logistic_out_of_fold
from headstart.audit.moments import PARTS, Indices, Moments, argmax, out_of_fold
from headstart.audit.tables import CLASSES, ISSUES, NEAR, OUTLIERS, WRONG
from headstart.audit.vectors import Float64, Whole

#: Classes with fewer images are not judged: a classifier of four folds has seen too few of them.
LEAST_OF_CLASS = 5
#: An overlap is that many images and that share of both classes.
_OVERLAP_IMAGES, _OVERLAP = 3, 0.05
_LISTED = 24  # images listed as the farthest, whether outliers or not
_FENCE = 3.0  # interquartile ranges of log distances above the quartile (Tukey's outer fence)


@dataclass(frozen=True)
class Judged:
    """The judgment of each image.

    Attributes
    ----------
    judge : Judge
    predicted, suggested : ndarray of shape (n,), int64
        Class by classifier and neighbors; the most probable one but the label, if that is wrong.
    doubts, wrong : ndarray of shape (n,), float64
        Log odds against the label; probability that it is wrong.
    distances : ndarray of shape (n,), float64
        To the nearest class.
    judged : ndarray of shape (n,), bool
        False in classes that are too small.
    accuracy : float
        Share of the images in train and validation whose label is the classifier's, out of fold.
    """

    judge: Judge
    predicted: Indices
    suggested: Indices
    doubts: Float64
    wrong: Float64
    distances: Float64
    judged: npt.NDArray[np.bool_]
    accuracy: float


def judge_labels(
    values: Whole, labels: Indices, blocks: Indices, parts: list[Moments], shares: Shares, seed: int
) -> Judged:
    """Judge the label of every image by those of the others in train and validation.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
        Images of train and validation, then those of test.
    labels : ndarray of shape (n,), int64
    blocks : ndarray of shape (n_known,), int64
        Of the images of train and validation.
    parts : list of Moments
        Of each block.
    shares : ndarray of shape (n, n_classes)
        Of the classes among the nearest images of train and validation.
    seed : int
        Draws the images that the logistic regression is trained on, if there are too many.
    """
    known = len(blocks)
    first, _ = out_of_fold(values, blocks, parts)
    counts = np.bincount(labels[:known], minlength=first.shape[1])
    judged = counts[labels] >= LEAST_OF_CLASS
    fitted = np.flatnonzero(judged[:known])
    regression = logistic_out_of_fold(values, labels[:known], blocks, parts, seed)
    others = [shares] if regression is None else [regression, shares]
    judge = fit_judge([each[fitted] for each in (first, *others)], labels[fitted])
    before = judge.combined([first, *others])
    # Once more, without the labels that seem wrong. The noise stays, and both judgments count the
    # same: a classifier that learned from its own judgment is surer of it than it should be.
    member = np.eye(len(counts))[labels[:known]]
    member[fitted] = judge.memberships(before[fitted], labels[fitted])
    member = np.rint(member * PARTS) / PARTS
    cleaned = [
        part.relabeled(values, member, np.flatnonzero(blocks == block))
        for block, part in enumerate(parts)
    ]
    logits, distances = out_of_fold(values, blocks, cleaned, distances=True)
    evidence = [logits, *others]
    judge = fit_judge([each[fitted] for each in evidence], labels[fitted], judge.noise)
    combined = (before + judge.combined(evidence)) / 2
    found, suggested = judge.doubts(combined, labels)
    return Judged(
        judge=judge,
        predicted=argmax(combined),
        suggested=suggested,
        doubts=found,
        wrong=wrong(found),
        distances=np.round(distances, 3),
        judged=judged,
        accuracy=round(float((argmax(first[:known]) == labels[:known]).mean()), 6),
    )


def issues_table(rows: pd.DataFrame, judged: Judged, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the images that are taken for another class, the most doubtful first."""
    names = np.array(classes, dtype=object)
    table: pd.DataFrame = rows.assign(
        suggested=names[judged.suggested], doubt=judged.doubts, wrong=judged.wrong
    )
    doubtful = (names[judged.predicted] != table["label"]) | (table["wrong"] >= 0.5)
    table = table[judged.judged & doubtful]
    table = table.sort_values(["doubt", "image_id", "path"], ascending=[False, True, True])
    rank = np.arange(1, len(table) + 1)
    table = table.assign(
        rank=rank,
        kind=np.where(table["wrong"] >= 0.5, WRONG, NEAR),
        expected_precision=np.round(table["wrong"].cumsum() / rank, 3),
    )
    return table[list(ISSUES)].astype(dict(ISSUES)).reset_index(drop=True)


def outliers_table(rows: pd.DataFrame, distances: Float64) -> pd.DataFrame:
    """Return the images that are farthest from all classes, outliers or not."""
    logs = np.log(np.maximum(distances, 1e-3))
    low, high = np.quantile(logs, [0.25, 0.75])
    outlier = logs > high + _FENCE * (high - low)
    table = rows.assign(distance=distances, outlier=outlier.astype(int))
    table = table.sort_values(["distance", "image_id", "path"], ascending=[False, True, True])
    table = table.head(max(_LISTED, int(outlier.sum())))
    table = table.assign(rank=np.arange(1, len(table) + 1))
    return table[list(OUTLIERS)].astype(dict(OUTLIERS)).reset_index(drop=True)


def classes_table(
    labels: Indices, judged: Judged, known: int, classes: tuple[str, ...], small: int
) -> pd.DataFrame:
    """Return every class with the class that it overlaps most."""
    labels, predicted = labels[:known], judged.predicted[:known]
    counts = np.bincount(labels, minlength=len(classes))
    wrong_label = judged.judged[:known] & (judged.wrong[:known] >= 0.5)
    confused = np.zeros((len(classes), len(classes)), np.int64)
    kept = judged.judged[:known] & ~wrong_label
    np.add.at(confused, (labels[kept], predicted[kept]), 1)
    both = confused + confused.T
    np.fill_diagonal(both, 0)
    other = both.argmax(axis=1)
    number = both[np.arange(len(classes)), other]
    share = number / np.maximum(counts + counts[other], 1)
    names = np.array(classes, dtype=object)
    table = pd.DataFrame(
        {
            "label": names,
            "images": counts,
            "too_small": (counts < small).astype(int),
            "wrong_labels": np.bincount(labels[wrong_label], minlength=len(classes)),
            "overlaps_with": np.where(number > 0, names[other], ""),
            "confused": number,
            "overlap": np.round(share, 4),
            "overlapping": ((number >= _OVERLAP_IMAGES) & (share >= _OVERLAP)).astype(int),
        }
    )
    return table.astype(dict(CLASSES))

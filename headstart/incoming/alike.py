"""Are new images like those of the run? Three tests on the images that trained nothing.

The new images are compared with the validation and test images, because a score holds for images
like those that it was measured on. One image per split group counts, so that all are independent.
A classifier tries to tell both sets apart by their features; a kernel test asks whether they lie in
the same places (:mod:`headstart.incoming.kernel`); and simple statistics are compared
(:mod:`headstart.incoming.statistics`). The smallest p of the three, times three, is that of the
verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import derive
from headstart._utils.threads import in_threads
from headstart.audit.drift import Drift, compare
from headstart.audit.vectors import (
    LARGEST_PRODUCT,
    Float64,
    Whole,
    directions,
    products,
    whole_numbers,
)
from headstart.datasets.groups import group_names
from headstart.images.decode import INSPECTED, inspect
from headstart.images.resize import pixels
from headstart.incoming.kernel import kernel_p
from headstart.incoming.known import KnownImages
from headstart.incoming.statistics import (
    DRAWS,
    Columns,
    Difference,
    class_columns,
    compare_statistics,
    pixel_statistics,
)

#: Images of each side that a test needs; that the classifier is given; whose pixels are looked at.
LEAST, MOST, MOST_PIXELS = 20, 2000, 500
_NEIGHBORS = 5
_SIDE = 160  # pixels, for the statistics

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdict:
    """Whether new images are like those of the run.

    Attributes
    ----------
    p : float
        Probability of such a difference by chance, if they are.
    differences : list of Difference
        The largest first.
    new, known : int
        Images compared.
    classifier : Drift or None
        The classifier that tells them apart by their features.
    kernel_p : float or None
        Probability by chance of the discrepancy between their features.
    """

    p: float
    differences: list[Difference]
    new: int
    known: int
    classifier: Drift | None = None
    kernel_p: float | None = None

    def reasons(self, significance: float) -> list[str]:
        """Return the differences that chance does not explain, in words."""
        found = [each.sentence() for each in self.differences if each.p <= significance]
        if self.classifier is not None and self.classifier.p <= significance:
            auroc = self.classifier.auroc
            found.append(f"a classifier tells their features apart with an AUROC of {auroc:.3f}")
        if self.kernel_p is not None and self.kernel_p <= significance:
            found.append("their features lie elsewhere, as those of unknown classes would")
        return found

    def record(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {
            "p": self.p,
            "new_images": self.new,
            "run_images": self.known,
            "auroc": None if self.classifier is None else self.classifier.auroc,
            "kernel_p": self.kernel_p,
            "differences": [
                {"statistic": d.name, "p": d.p, "new": d.new, "run": d.known, "z": d.z}
                for d in self.differences
            ],
        }


@dataclass(frozen=True)
class Images:
    """Images of one side.

    Attributes
    ----------
    features : ndarray of shape (n, *feature_shape), float32
    files : sequence of bytes
        Read one at a time, as far as they are looked at.
    """

    features: Features
    files: Sequence[bytes]


def held_out(
    run: KnownImages, manifest: pd.DataFrame, duplicates: Mapping[str, str], seed: int
) -> tuple[pd.DataFrame, Features]:
    """Return validation and test images in a drawn order, one of each split group, at most MOST.

    Parameters
    ----------
    run : KnownImages
    manifest : DataFrame
        The sample manifest.
    duplicates : mapping of str to str
        Group of near duplicates by image id.
    seed : int

    Returns
    -------
    rows : DataFrame
        Of the manifest.
    features : ndarray of shape (n, *feature_shape), float32

    Raises
    ------
    HeadstartError
        If features and manifest are of different runs.
    """
    parts, arrays = [], []
    for split in ("validation", "test"):
        rows = manifest[manifest["split"] == split].reset_index(drop=True)
        if not rows[["image_id", "label"]].equals(run.features.images(split)):
            raise HeadstartError(
                f"The manifest and {run.features.folder} hold different {split} images: they come "
                "from different runs. `dvc repro` makes them match."
            )
        parts.append(rows.assign(place=np.arange(len(rows))))
        arrays.append(run.features.array(split))
    rows = pd.concat(parts, ignore_index=True)
    random = np.random.Generator(np.random.Philox(key=derive(seed, "incoming", "held out")))
    rows = rows.iloc[random.permutation(len(rows))]
    chosen = rows[~group_names(rows, duplicates).duplicated()].head(MOST).reset_index(drop=True)
    found = np.empty((len(chosen), *run.features.header.feature_shape), np.float32)
    for split, array in zip(("validation", "test"), arrays, strict=True):
        ours = (chosen["split"] == split).to_numpy()
        found[ours] = array[chosen["place"][ours].to_numpy()]
    return chosen, found


def require_enough(new: int, known: int) -> None:
    """Refuse to judge too few images.

    Raises
    ------
    HeadstartError
        If either side has fewer than :data:`LEAST`.
    """
    if new < LEAST:
        raise HeadstartError(
            f"At least {LEAST} new images are needed to judge; got {new}. Images of the data set "
            "and copies do not count. Collect more, then run again."
        )
    if known < LEAST:
        raise HeadstartError(
            f"The run has {known} validation and test images of different split groups; at least "
            f"{LEAST} are needed. Add images to the data set, and run the pipeline."
        )


def distances(values: Whole, references: Whole) -> Float64:
    """Return the mean distance of images to the nearest references: 0 alike, 1 unrelated.

    Parameters
    ----------
    values : ndarray of shape (n, n_features), int16
    references : ndarray of shape (m, n_features), int16

    Returns
    -------
    ndarray of shape (n,), float64
        1 less the mean cosine of the angles to the five nearest.
    """
    ours = directions(references)
    count = min(_NEIGHBORS, len(references))
    found = np.empty(len(values))
    for rows, likeness in products(values, ours):
        nearest = np.partition(likeness, -count, axis=1)[:, -count:].astype(np.float64)
        found[rows] = 1 - nearest.sum(axis=1) / (count * LARGEST_PRODUCT)
    return np.round(found, 6)


def judge(
    run: KnownImages, known: Images, new: Images, seed: int
) -> tuple[Verdict, Float64, Float64]:
    """Compare new images with some of the run.

    Parameters
    ----------
    run : KnownImages
    known, new : Images
        Those of the run in a drawn order.
    seed : int

    Returns
    -------
    verdict : Verdict
    known_distances, new_distances : ndarray of shape (n,), float64
        See :func:`distances`.
    """
    require_enough(len(new.features), len(known.features))
    random = np.random.Generator(np.random.Philox(key=derive(seed, "incoming", "new")))
    order = random.permutation(len(new.features))
    training, labels = run.training(seed)
    values = whole_numbers([training, known.features, new.features], measured=1)
    references, ours, theirs = np.split(values, np.cumsum([len(training), len(known.features)]))
    far = distances(ours, references), distances(theirs, references)
    drawn = theirs[order[:MOST]]
    sides = np.repeat([0, 1], [len(ours), len(drawn)])
    names = [str(number) for number in range(len(sides))]
    classifier = compare(np.concatenate([ours, drawn]), sides, names, seed, DRAWS)
    rows = np.arange(len(ours))[:MOST_PIXELS], order[:MOST_PIXELS]
    columns = _columns(run, (known, new), far, rows)
    differences = compare_statistics(*columns, seed)
    discrepancy = kernel_p(references, labels, ours, drawn, seed)
    tests = [min(each.p for each in differences), discrepancy]
    p = min(1.0, 3 * min(tests + ([classifier.p] if classifier else [])))
    verdict = Verdict(p, differences, len(drawn), len(ours), classifier, discrepancy)
    return verdict, *far


def _columns(
    run: KnownImages,
    sides: tuple[Images, Images],
    far: tuple[Float64, Float64],
    rows: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
) -> tuple[Columns, Columns]:
    probabilities = [
        run.probabilities(side.features[at]) for side, at in zip(sides, rows, strict=True)
    ]
    ours, theirs = (each.argmax(axis=1) for each in probabilities)
    classes = class_columns(ours, theirs, run.classes)
    first, second = (
        {
            "distance": away[at],
            "confidence": each.max(axis=1).astype(np.float64),
            **measured((side.files[row] for row in at), run.backbone.gray16_bits),
            **own,
        }
        for side, away, at, each, own in zip(sides, far, rows, probabilities, classes, strict=True)
    )
    return first, second


def measured(files: Iterable[bytes], gray16_bits: int | None) -> dict[str, Float64]:
    """Return the statistics of image files that their pixels and headers show."""

    def one(content: bytes) -> dict[str, float]:
        info = inspect(content, INSPECTED)
        area = info.width * info.height
        return {
            **pixel_statistics(pixels(content, _SIDE, INSPECTED, gray16_bits=gray16_bits)),
            "megapixels": area / 1e6,
            "aspect": info.width / info.height,
            "bytes per pixel": len(content) / area,
        }

    found = [values for _, values in in_threads(one, files, size=len)]
    return {name: np.array([values[name] for values in found]) for name in found[0]}

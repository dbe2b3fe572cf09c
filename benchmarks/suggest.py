"""Simulate labeling: images that `headstart suggest` ranks first, beside a random choice.

    python -m benchmarks.suggest ARCHIVE… [--classes N] [--seeds '1 2 3']

A third of the images is for testing. A head is trained on 5 labeled images per class; then, again
and again, as many images as there are in a batch are labeled, and a head is trained on all labels.
The table shows the accuracy by the number of labels, and the labels that each choice needs for the
accuracy that a random choice reaches at the end (interpolated; the median of the seeds; inf: more
than were given). Features are computed once per
image and kept in the feature store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

import headstart as hs
from benchmarks.images import Labels, features, read
from headstart.audit.vectors import whole_numbers
from headstart.incoming.ranking import rank, uncertainty

PER_CLASS = 5
CHOICES = ("suggest", "least sure", "random")

Floats = npt.NDArray[np.float32]


def main(
    archives: list[Path],
    classes: int | None = None,
    backbone: str = "headstart-small",
    image_size: int | None = None,
    batch: Annotated[int, typer.Option(help="images labeled at a time")] = 50,
    rounds: int = 6,
    seeds: str = "1 2 3",
) -> None:
    """Print a table per archive."""
    for archive in archives:
        contents, labels = read(archive, classes)
        values = features(contents, backbone, image_size)
        numbers = [int(seed) for seed in seeds.split()]
        found = {
            choice: np.array([simulate(values, labels, choice, batch, rounds, s) for s in numbers])
            for choice in CHOICES
        }
        count = len(np.unique(labels))
        report(archive.stem, len(labels), count, batch, found)


def simulate(
    values: Floats, labels: Labels, choice: str, batch: int, rounds: int, seed: int
) -> list[float]:
    """Return the accuracy on the test images after each round of labeling."""
    order = np.random.default_rng(seed).permutation(len(labels))
    test, pool = np.split(order, [len(order) // 3])
    first = [pool[labels[pool] == label][:PER_CLASS] for label in np.unique(labels)]
    labeled = np.concatenate(first)
    random = np.random.default_rng((seed, 1))
    accuracies = []
    for _ in range(rounds + 1):
        head = hs.HeadClassifier(random_state=seed).fit(values[labeled], labels[labeled])
        accuracies.append(float((head.predict(values[test]) == labels[test]).mean()))
        rest = np.setdiff1d(pool, labeled)
        if choice == "random":
            chosen = random.choice(len(rest), batch, replace=False)
        else:
            probabilities = head.predict_proba(values[rest])
            chosen = np.argsort(-uncertainty(probabilities), kind="stable")[:batch]
            if choice == "suggest":
                whole = whole_numbers([values[labeled], values[rest]], 1)
                chosen = rank(probabilities, whole[len(labeled) :], whole[: len(labeled)], batch)
        labeled = np.concatenate([labeled, rest[chosen]])
    return accuracies


def report(
    name: str, images: int, classes: int, batch: int, found: dict[str, npt.NDArray[np.float64]]
) -> None:
    """Print accuracies by the number of labels, and the labels needed."""
    sizes = classes * PER_CLASS + batch * np.arange(found["random"].shape[1])
    print(f"{name}: {images:,} images, {classes} classes, {len(found['random'])} seeds")
    print(f"{'labels':12}" + "".join(f"{size:>8}" for size in sizes) + "   labels needed")
    for choice, rows in found.items():
        needed = [
            reached(sizes, row, goal[-1]) for row, goal in zip(rows, found["random"], strict=True)
        ]
        least = f"{np.median(needed):.0f} ({min(needed):.0f} to {max(needed):.0f})"
        print(
            f"{choice:12}" + "".join(f"{each:8.3f}" for each in rows.mean(axis=0)) + f"   {least}"
        )
    print(flush=True)


def reached(
    sizes: npt.NDArray[np.int64], accuracies: npt.NDArray[np.float64], goal: float
) -> float:
    """Return the number of labels at which the accuracy first reaches a goal, interpolated."""
    best = np.maximum.accumulate(accuracies)
    place = int(np.searchsorted(best, goal))
    if place >= len(best):
        return float("inf")
    if place == 0:
        return float(sizes[0])
    share = (goal - best[place - 1]) / (best[place] - best[place - 1])
    return float(sizes[place - 1] + share * (sizes[place] - sizes[place - 1]))


if __name__ == "__main__":
    typer.run(main)

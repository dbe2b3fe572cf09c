"""Learning curves: how often does the 90 % band of a forecast hold the truth?

    HEADSTART_SHARED=… python -m benchmarks.learning_curve

From a half and a quarter of the images of a set, drawn by the seed, the accuracy of all of them is
forecast: twice and four times as many training images. The truth is the accuracy that the largest
classifiers reach when the curve is measured on all images. The two constants of the forecast were
chosen on digits and on other classes of tiny-imagenet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import typer

from benchmarks.defaults.examples import NETWORKS, archive_set, features
from headstart.audit.forecast import forecast
from headstart.audit.learning_curve import Curve, measure
from headstart.audit.moments import block_moments, deal
from headstart.audit.vectors import whole_numbers

_CATS = ("cats-dogs.zip", "PetImages/", slice(2), 2000)
_ALIEN = ("alien-vs-predator.zip", "alien-vs-predator-images/", slice(2), 450)
_FRUITS = ("fruits360-10.zip", "fruits-360/Tr", slice(10), 300)
_TINY = ("tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(20), 200)
#: Archive, backbone, and the numbers of classes that are drawn from it.
SETS: dict[str, tuple[tuple[Any, ...], str, tuple[int, ...]]] = {
    "cats-dogs, v1/0.25": (_CATS, "v1/0.25-128", (2,)),
    "cats-dogs, small": (_CATS, "small-64", (2,)),
    "alien, v1/0.25": (_ALIEN, "v1/0.25-128", (2,)),
    "alien, small": (_ALIEN, "small-64", (2,)),
    "fruits, v1/0.25": (_FRUITS, "v1/0.25-128", (2, 5, 10)),
    "fruits, small": (_FRUITS, "small-64", (10,)),
    "tiny-20, v1/0.25": (_TINY, "v1/0.25-128", (2, 5, 20)),
    "cats-dogs, v2": (_CATS, "v2-160", (2,)),
    "alien, v2": (_ALIEN, "v2-160", (2,)),
    "tiny-20, v1": (_TINY, "v1-128", (5, 20)),
}


def main(sets: str = "", seeds: str = "1 2 3") -> None:
    """Measure and print a row per set and number of classes, then the coverage over all."""
    hits: dict[int, list[bool]] = {2: [], 4: []}
    print("set, classes: for each seed, the forecast error (band) and the truth, from 1/2 and 1/4")
    for name in sets.split(";") if sets else SETS:
        where, network, counts = SETS[name]
        images = archive_set(name, *where)
        chosen = next(each for each in NETWORKS if each.name == network)
        found, labels = features(chosen, images), images.labels.astype(np.int64)
        for count in counts:
            for seed in map(int, seeds.split()):
                for part, hit, text in cases(found, labels, count, seed):
                    hits[part].append(hit)
                    print(f"{name}, {count}: 1/{part}: {text}", flush=True)
    for part, found_in in hits.items():
        share = np.mean(found_in)
        print(f"1/{part}: {sum(found_in)} of {len(found_in)} in the band ({share:.3f})")


def cases(found: Any, labels: Any, count: int, seed: int) -> list[tuple[int, bool, str]]:
    """Forecast from a half and a quarter of the images of some classes."""
    random = np.random.Generator(np.random.Philox(key=seed))
    kept = np.sort(random.choice(labels.max() + 1, count, replace=False))
    inside = np.isin(labels, kept)
    found, labels = found[inside], np.searchsorted(kept, labels[inside])
    whole = curve(found, labels, seed)
    truth = float(whole.errors[-1])
    rows = []
    for part in (2, 4):
        some = np.sort(random.choice(len(labels), len(labels) // part, replace=False))
        band = forecast(curve(found[some], labels[some], seed), [whole.images[-1]])[0]
        text = f"{band.error:.4f} ({band.low:.4f} to {band.high:.4f}), truth {truth:.4f}"
        rows.append((part, bool(band.low <= truth <= band.high), text))
    return rows


def curve(found: Any, labels: Any, seed: int) -> Curve:
    """Measure a learning curve as the stage does."""
    values = whole_numbers([found], 1)
    blocks = deal(labels, [str(row) for row in range(len(labels))], seed)
    return measure(values, labels, blocks, block_moments(values, labels, blocks, labels.max() + 1))


if __name__ == "__main__":
    typer.run(main)

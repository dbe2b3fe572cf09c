"""Label issues: planted noise found by the audit, beside cleanlab's score on a logistic head.

    HEADSTART_SHARED=… python -m benchmarks.label_issues --sets cats-dogs,fruits

The settings of the audit were chosen on digits and other classes of tiny-imagenet; that a logistic
regression should judge, too, was seen on tiny-20 with the first seed, where the setting in use was
tried as well. A fifth of the images, with clean labels, is kept for testing. In the others, some
labels are replaced by another class drawn at random ("symmetric") or by the class that the image's
class is most often taken for ("pair"). cleanlab's label quality is computed from the probabilities
of scikit-learn's logistic regression, out of five folds. Printed are, as means over the seeds:
AUROC, precision among as many images as were changed, the precision that the audit expects there,
the accuracy on the test images of a linear classifier with the noise, after the first images of
each ranking got their true label back, and without noise; and seconds of CPU. cleanlab is no
dependency: `pip install cleanlab` into an environment, or append its folder to PYTHONPATH.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.defaults.examples import NETWORKS, ImageSet, archive_set, features
from headstart.audit.labels import Judged, judge_labels
from headstart.audit.moments import FOLDS, Moments, argmax, block_moments, deal, discriminant
from headstart.audit.neighbors import neighbor_shares
from headstart.audit.vectors import Whole, whole_numbers

Labels = npt.NDArray[np.int64]
_TINY = ("tiny-imagenet-40k.zip", "tiny-imagenet/train/")
#: Archive, folder in it, classes and images per class; and the backbone.
SETS: dict[str, tuple[tuple[Any, ...], str]] = {
    "cats-dogs": (("cats-dogs.zip", "PetImages/", slice(2), 2000), "v2-160"),
    "alien": (("alien-vs-predator.zip", "alien-vs-predator-images/", slice(2), 450), "v2-160"),
    "fruits": (("fruits360-10.zip", "fruits-360/Tr", slice(10), 300), "v1-128"),
    "tiny-20": (("tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(20), 200), "v1-128"),
    "tiny-last": (
        ("tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(180, 200), 200),
        "v1-128",
    ),
}


class Row(NamedTuple):
    """What was measured of one draw of noise."""

    auroc: float
    precision: float
    expected: float
    seconds: float
    theirs: float
    their_precision: float
    their_seconds: float
    noisy: float
    mended: float
    their_mended: float
    clean: float


def main(
    sets: Annotated[str, typer.Option(help="comma-separated; empty: all")] = "",
    seeds: str = "1 2 3",
    rates: str = "0.02 0.05 0.1 0.2",
) -> None:
    """Measure and print a row per set, kind of noise and rate."""
    print(
        "set        noise      rate  AUROC (sd)      cleanlab (sd)   prec (sd)   cleanlab (sd) "
        "expected   test: noisy mended cleanlab clean   CPU s cleanlab"
    )
    for name in sets.split(",") if sets else SETS:
        where, network = SETS[name]
        images = archive_set(name, *where)
        values, labels = standard(images, network)
        # Of two classes, both kinds are one.
        for kind in ("symmetric", "pair")[: 1 if labels.max() == 1 else 2]:
            for rate in map(float, rates.split()):
                rows = [measured(*values, labels, kind, rate, int(s)) for s in seeds.split()]
                _print(name, kind, rate, rows)


def _print(name: str, kind: str, rate: float, rows: list[Row]) -> None:
    mean, spread = Row(*np.mean(rows, axis=0)), Row(*np.std(rows, axis=0))
    print(
        f"{name:10} {kind:10} {rate:4.0%}  {mean.auroc:.4f} ({spread.auroc:.4f}) "
        f"{mean.theirs:.4f} ({spread.theirs:.4f})  {mean.precision:.3f} ({spread.precision:.3f}) "
        f"{mean.their_precision:.3f} ({spread.their_precision:.3f})  {mean.expected:.3f}"
        f"            {mean.noisy:.4f} "
        f"{mean.mended:.4f} {mean.their_mended:.4f}  {mean.clean:.4f}  {mean.seconds:6.1f} "
        f"{mean.their_seconds:6.1f}",
        flush=True,
    )


def standard(images: ImageSet, network: str) -> tuple[tuple[Whole, Any], Labels]:
    """Return the features of a set as whole numbers and as standardized ones, and its labels."""
    chosen = next(each for each in NETWORKS if each.name == network)
    found = features(chosen, images)
    spread = found.std(axis=0)
    scaled = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return (whole_numbers([found], 1), scaled), images.labels.astype(np.int64)


def measured(values: Whole, scaled: Any, actual: Labels, kind: str, rate: float, seed: int) -> Row:
    """Plant noise and look for it, in both ways."""
    random = np.random.Generator(np.random.Philox(key=seed))
    test = random.random(len(actual)) < 0.2
    values, scaled, held, held_labels = values[~test], scaled[~test], values[test], actual[test]
    actual = actual[~test]
    n_classes = int(actual.max()) + 1
    names = [str(row) for row in range(len(actual))]
    changed = random.choice(len(actual), round(rate * len(actual)), replace=False)
    given = actual.copy()
    if kind == "symmetric":
        given[changed] += random.integers(1, n_classes, len(changed))
        given %= n_classes
    else:
        given[changed] = confusable(values, actual, names, n_classes)[actual[changed]]
    started = time.process_time()
    judged, blocks = audited(values, given, names, n_classes)
    seconds = time.process_time() - started
    started = time.process_time()
    quality = cleanlab_score(scaled, given, blocks, n_classes)
    their_seconds = time.process_time() - started
    bad = given != actual
    ours, theirs = (
        np.argsort(score, kind="stable")[: bad.sum()] for score in (-judged.doubts, quality)
    )

    def tested(labels: Labels) -> float:
        linear = discriminant(Moments.of(values, labels, n_classes))
        return float((argmax(linear.logits(held.astype(np.float64))) == held_labels).mean())

    def mended(first: Labels) -> float:
        labels = given.copy()
        labels[first] = actual[first]
        return tested(labels)

    return Row(
        float(roc_auc_score(bad, judged.doubts)), bad[ours].mean(), judged.wrong[ours].mean(),
        seconds, float(roc_auc_score(bad, -quality)), bad[theirs].mean(), their_seconds,
        tested(given), mended(ours), mended(theirs), tested(actual),
    )  # fmt: skip


def audited(
    values: Whole, labels: Labels, names: list[str], n_classes: int
) -> tuple[Judged, Labels]:
    """Judge the labels as the stage does."""
    blocks = deal(labels, names, 42)
    parts = block_moments(values, labels, blocks, n_classes)
    shares = neighbor_shares(values, np.arange(len(values)), labels, n_classes, 10, 42)
    return judge_labels(values, labels, blocks, parts, shares, 42), blocks


def confusable(values: Whole, labels: Labels, names: list[str], n_classes: int) -> Labels:
    """Return the class that each class is most often taken for."""
    predicted = audited(values, labels, names, n_classes)[0].predicted
    counts = np.zeros((n_classes, n_classes))
    np.add.at(counts, (labels, predicted), 1)
    # Where nothing is ever confused, the next class.
    counts[np.arange(n_classes), (np.arange(n_classes) + 1) % n_classes] += 0.5
    np.fill_diagonal(counts, -1)
    return np.asarray(counts.argmax(axis=1))


def cleanlab_score(scaled: Any, labels: Labels, blocks: Labels, n_classes: int) -> Any:
    """Return cleanlab's label quality from an out-of-fold logistic head."""
    from cleanlab.rank import get_label_quality_scores

    chances = np.zeros((len(labels), n_classes))
    for fold in range(FOLDS):
        inside = blocks % FOLDS == fold
        head = LogisticRegression(C=0.001, max_iter=100).fit(scaled[~inside], labels[~inside])
        chances[np.ix_(inside, head.classes_)] = head.predict_proba(scaled[inside])
    return get_label_quality_scores(labels, chances)


if __name__ == "__main__":
    typer.run(main)

"""The default head beside its former defaults and scikit-learn, on the same features and splits.

    HEADSTART_SHARED=… python -m benchmarks.defaults.heads --seeds 5 --train 20 --train 0

Every row is a set of images, a backbone and a number of training images per class (0: 60 % of the
set); a tenth of the images validates, three tenths test. Each seed draws another division, which
all heads share. Printed are accuracy, log loss and expected calibration error on the test images,
as means over the seeds, and the mean of their paired differences from both regressions, with the
standard deviation. ``LogisticRegression`` gets its C by the validation loss, as the heads get their
epoch and temperature; ``LogisticRegressionCV`` learns from standardized features, and chooses C by
cross-validation on the training images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.defaults.examples import NETWORKS, asked, features, image_sets
from headstart.stage.parameters import read_params
from headstart.training.fit_head import fit_head
from headstart.training.head import apply_head
from headstart.training.parameters import TrainHeadParams

Array = npt.NDArray[Any]
_ROOT = Path(__file__).resolve().parents[2]
_STRENGTHS = 10.0 ** np.arange(-4, 3)
_BINS = 15
_REGRESSION, _CROSS = "LogisticRegression", "LogisticRegressionCV"
_FORMER: Mapping[str, Any] = {
    "normalization": "batch", "dropout": 0.2, "label_smoothing": 0.0, "optimizer": "adam",
    "learning_rate": 0.003, "learning_rate_schedule": "constant", "weight_decay": 0.0,
    "epochs": 20, "early_stopping_patience": 5, "calibration": "none",
}  # fmt: skip
#: What differs from the defaults of params.yaml.
HEADS: Mapping[str, Mapping[str, Any]] = {
    "former default": _FORMER,
    "former, Adam 1e-3": {**_FORMER, "learning_rate": 0.001},
    "former, no BatchNorm": {**_FORMER, "normalization": "none"},
    "default": {},
    "weight decay 0": {"weight_decay": 0.0},
    "weight decay 5": {"weight_decay": 5.0},
    "no smoothing": {"label_smoothing": 0.0},
    "no temperature": {"calibration": "none"},
    "constant rate": {"learning_rate_schedule": "constant"},
    "dropout 0.5": {"dropout": 0.5},
}


class Scores(NamedTuple):
    """Scores on the test images."""

    accuracy: float
    loss: float
    ece: float


class Division(NamedTuple):
    """Rows of a set."""

    train: Array
    validation: Array
    test: Array


def main(
    seeds: int = 5,
    train: Annotated[list[int] | None, typer.Option(help="training images per class")] = None,
    sets: Annotated[list[str] | None, typer.Option(help="names of sets")] = None,
    networks: Annotated[list[str] | None, typer.Option(help="names of backbones")] = None,
    heads: Annotated[list[str] | None, typer.Option(help="names of heads")] = None,
) -> None:
    """Measure and print the table."""
    base = read_params(_ROOT / "params.yaml").train_head
    chosen = {name: base.model_copy(update=dict(HEADS[name])) for name in heads or HEADS}
    examples = image_sets(sets)
    for network in NETWORKS:
        if networks and network.name not in networks:
            continue
        for images in examples:
            if asked(network, images):
                x = features(network, images)
                for count in train or (20, 0):
                    measure(f"{images.name} {network.name}", x, images.labels, count, seeds, chosen)


def measure(
    name: str, x: Array, y: Array, count: int, seeds: int, heads: Mapping[str, TrainHeadParams]
) -> None:
    """Measure all heads on one set and backbone, and print a line for each."""
    found: dict[str, list[Scores]] = {}
    for seed in range(seeds):
        rows = divide(y, count, seed)
        found.setdefault(_REGRESSION, []).append(regression(x, y, rows))
        found.setdefault(_CROSS, []).append(cross_validated(x, y, rows))
        for head, params in heads.items():
            found.setdefault(head, []).append(trained(x, y, rows, params, seed))
    print(f"{name}: {len(rows.train)} train, {len(rows.validation)} validation", flush=True)
    for head, scores in found.items():
        values = np.array(scores)
        beside = "   ".join(
            f"{name}: {apart(values, found[name])}" for name in (_REGRESSION, _CROSS)
        )
        means = " ".join(f"{value:.3f}" for value in values.mean(axis=0))
        print(f"  {head:22}{means}   {beside}", flush=True)


def apart(values: Array, others: list[Scores]) -> str:
    """Return the mean paired differences with their standard deviation over the seeds."""
    differences = values - np.array(others)
    pairs = zip(differences.mean(axis=0), differences.std(axis=0, ddof=1), strict=True)
    return ", ".join(f"{mean:+.3f} ± {spread:.3f}" for mean, spread in pairs)


def divide(y: Array, count: int, seed: int) -> Division:
    """Draw the division of a seed, class by class."""
    generator = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    for label in np.unique(y):
        order = generator.permutation(np.flatnonzero(y == label))
        start, end = int(len(order) * 0.6), int(len(order) * 0.7)
        if count:
            start = min(count, start)
        held = order[start : start + max(2, count // 5)] if count else order[start:end]
        for part, rows in zip(parts, (order[:start], held, order[end:]), strict=True):
            part.extend(rows)
    return Division(*(np.array(part) for part in parts))


def trained(x: Array, y: Array, rows: Division, params: TrainHeadParams, seed: int) -> Scores:
    """Train a head as the stage does; return its scores on the test rows."""
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731 - shorter than a function
    train, validation = ((x[part], y[part]) for part in rows[:2])
    layers, weights, _ = fit_head(train, validation, len(np.unique(y)), params, seed, quiet)
    return scores_of(apply_head(layers, weights, x[rows.test]), y[rows.test])


def regression(x: Array, y: Array, rows: Division) -> Scores:
    """Return the scores of the logistic regression that has the lowest validation loss."""
    best, found = np.inf, Scores(0, np.inf, 1)
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500).fit(x[rows.train], y[rows.train])
        loss = scores_of(model.predict_proba(x[rows.validation]), y[rows.validation]).loss
        if loss < best:
            best = loss
            found = scores_of(model.predict_proba(x[rows.test]), y[rows.test])
    return found


def cross_validated(x: Array, y: Array, rows: Division) -> Scores:
    """Return the scores of scikit-learn's cross-validated regression."""
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=7, cv=5, max_iter=300, scoring="neg_log_loss", l1_ratios=(0,),
            use_legacy_attributes=False,
        ),
    )  # fmt: skip
    model.fit(x[rows.train], y[rows.train])
    return scores_of(model.predict_proba(x[rows.test]), y[rows.test])


def scores_of(probabilities: Array, labels: Array) -> Scores:
    """Return accuracy, log loss and expected calibration error."""
    own = probabilities[np.arange(len(labels)), labels]
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, confidence - right, _BINS)
    return Scores(
        float(right.mean()),
        float(-np.log(np.maximum(own, 1e-12)).mean()),
        float(np.abs(gaps).sum() / len(labels)),
    )


if __name__ == "__main__":
    typer.run(main)

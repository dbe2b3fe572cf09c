"""`headstart sweep` beside what people do instead, on the features folder of a project.

    python -m benchmarks.sweep data/features

(a) 100 heads by the sweep, in two processes, with an empty journal; the same again from the journal
(b) the same grid by Keras: a model, ``compile`` and ``fit`` with early stopping for each head, all
    in one process that imports TensorFlow once; ``--keras-heads`` of them, evenly over the grid
(c) accuracy on the test images: the head of params.yaml, the sweep's best, and scikit-learn's
    ``LogisticRegressionCV`` on the standardized features of the same training images
(d) the estimate for the best head, and its accuracy on the images that chose it, minus its accuracy
    on test images: over divisions of all images into few to train on, few to choose on, and many to
    test on; by the grid, or with ``--sampler tpe`` by as many heads that Optuna's sampler proposes
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import typer

from headstart._utils.seeds import derive
from headstart.features.folder import Features, read_features
from headstart.selection.grid import DEFAULT_RANGES, Trial, axes, trials
from headstart.selection.halves import guiding
from headstart.selection.journal import Journal
from headstart.selection.proposals import BATCH, Proposals
from headstart.selection.sweep import Found, sweep
from headstart.selection.trials import Result, identity_of, train_on
from headstart.stage.parameters import read_params
from headstart.training.fit_head import fit_head
from headstart.training.head import apply_head

Array = npt.NDArray[Any]
_ROOT = Path(__file__).resolve().parents[1]
_SEED = 42
_GRID = (
    "train_head.learning_rate=0.0003,0.001,0.003,0.01",
    "train_head.weight_decay=0.1,0.3,1.0,3.0,5.0",
    "train_head.dropout=0.0,0.3",
    "train_head.label_smoothing=0.0,0.1",
    "train_head.class_weights=none,balanced",
)
_SMALL_GRID = (
    "train_head.learning_rate=0.0003,0.001,0.003,0.01",
    "train_head.weight_decay=0.1,1.0,5.0",
    "train_head.dropout=0.0,0.5",
    "train_head.hidden=[],[32]",
)


@dataclass(frozen=True)
class Division:
    """Rows of a set as the three splits, in the way in which a features folder shows them."""

    header: Any
    arrays: Mapping[str, Array]
    indices: Mapping[str, Array]

    def array(self, split: str) -> Array:
        """Return the features of a split."""
        return self.arrays[split]

    def labels(self, split: str) -> Array:
        """Return the class indices of a split."""
        return self.indices[split]


def main(
    folder: Path,
    heads: int = 100,
    keras_heads: int = 5,
    repeats: int = 20,
    train: Annotated[int, typer.Option(help="images to train on, in (d)")] = 200,
    chosen: Annotated[int, typer.Option(help="images to choose on, in (d)")] = 100,
    sampler: Annotated[str, typer.Option(help="grid or tpe, in (d)")] = "grid",
) -> None:
    """Measure and print."""
    base = read_params(_ROOT / "params.yaml").train_head
    features = read_features(folder)
    if heads:
        grid = trials(axes(_GRID), base, features.header.view_count, heads, _SEED)[:heads]
        beside(folder, features, grid, keras_heads)
    if repeats:
        optimism(features, base, repeats, (train, chosen), sampler)


def beside(folder: Path, features: Features, grid: Sequence[Trial], keras_heads: int) -> None:
    """Print the sweep's seconds and accuracies beside those of the others."""
    shapes = [features.array(split).shape for split in ("train", "validation", "test")]
    load = os.getloadavg()[0]
    print(f"{len(grid)} heads; train, validation, test: {shapes}; load {load:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HEADSTART_CACHE"] = cache
        found, seconds, used = _swept(folder, features, grid)
        _, again, _ = _swept(folder, features, grid)
    print(
        f"(a) {seconds:.1f} s, {used:.1f} s of CPU ({found.count('stopped')} stopped early); "
        f"repeated {again:.1f} s; 0 passes",
        flush=True,
    )
    if keras_heads:
        some = grid[:: max(1, len(grid) // keras_heads)][:keras_heads]
        each, each_used = by_keras(features, some)
        count = len(grid)
        print(
            f"(b) {each:.1f} s per head by Keras, {each_used:.1f} s of CPU; for {count} heads "
            f"{each * count / seconds:.1f} times as long, and {each_used * count / used:.1f} times "
            "the CPU",
            flush=True,
        )
    print("(c) test accuracy:", accuracies(features, found), flush=True)


def _swept(folder: Path, features: Features, grid: Sequence[Trial]) -> tuple[Found, float, float]:
    """Return the results, the seconds, and those of CPU."""
    start, before = time.perf_counter(), _cpu()
    journal, images = Journal(features.header, _SEED), len(features.labels("validation"))
    found = sweep(folder, journal, grid, images, 2, _SEED)
    return found, time.perf_counter() - start, _cpu() - before


def _cpu() -> float:
    """Return the seconds of CPU of this process and of its ended children."""
    return sum(os.times()[:4])


def by_keras(features: Features, grid: Sequence[Trial]) -> tuple[float, float]:
    """Return the mean seconds of a head by Keras' own ``fit``, and those of CPU."""
    from headstart.keras.runtime import keras

    x, y = np.asarray(features.array("train")), features.labels("train")
    held = np.asarray(features.array("validation")), features.labels("validation")
    classes = len(features.header.classes)
    counts = np.bincount(y, minlength=classes)
    start, before = time.perf_counter(), _cpu()
    for trial in grid:
        params = trial.params
        layers = [keras.layers.Normalization()]
        layers[0].adapt(x)
        for units in params.hidden:
            layers += [keras.layers.Dropout(params.dropout), keras.layers.Dense(units, "relu")]
        layers += [keras.layers.Dropout(params.dropout), keras.layers.Dense(classes, "softmax")]
        model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
        steps = params.epochs * -(-len(x) // params.batch_size)
        rate = keras.optimizers.schedules.CosineDecay(params.learning_rate, steps)
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=params.weight_decay),
            keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing),
        )
        balanced = params.class_weights == "balanced"
        model.fit(
            x, np.eye(classes)[y], params.batch_size, params.epochs, verbose=0,
            validation_data=(held[0], np.eye(classes)[held[1]]),
            callbacks=[keras.callbacks.EarlyStopping(patience=params.early_stopping_patience)],
            class_weight=dict(enumerate(len(y) / (classes * counts))) if balanced else None,
        )  # fmt: skip
    return (time.perf_counter() - start) / len(grid), (_cpu() - before) / len(grid)


def accuracies(features: Features, found: Found) -> dict[str, float]:
    """Return the test accuracies of the sweep's best, the present head, and scikit-learn's."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    x, y = np.asarray(features.array("train")), features.labels("train")
    asked, labels = np.asarray(features.array("test")), features.labels("test")
    scaler = StandardScaler().fit(x)
    model = LogisticRegressionCV(
        Cs=7, cv=5, max_iter=300, scoring="accuracy", l1_ratios=(0,), use_legacy_attributes=False
    ).fit(scaler.transform(x), y)
    return {
        "params.yaml": _tested(features, found.trials[0]),
        "best of the sweep": _tested(features, found.ranking[0].trial),
        "expected of it": round(found.estimate().accuracy, 4),
        "LogisticRegressionCV": float((model.predict(scaler.transform(asked)) == labels).mean()),
    }


def optimism(
    features: Features, base: Any, repeats: int, counts: tuple[int, int], sampler: str
) -> None:
    """Print the errors of the estimate and of the apparent accuracy, over divisions."""
    splits = ("train", "validation", "test")
    x = np.concatenate([np.asarray(features.array(split)) for split in splits])
    y = np.concatenate([features.labels(split) for split in splits])
    header = SimpleNamespace(classes=features.header.classes, view_count=0)
    grid, (train, chosen) = trials(axes(_SMALL_GRID), base, 0, None, _SEED), counts
    errors = []
    for repeat in range(repeats):
        order = np.random.default_rng(repeat).permutation(len(y))
        rows = np.split(order, [train, train + chosen])
        parts = dict(zip(splits, rows, strict=True))
        division = cast(
            "Features",
            Division(
                header,
                {split: x[part] for split, part in parts.items()},
                {split: y[part] for split, part in parts.items()},
            ),
        )
        if sampler == "tpe":
            found = proposed(division, base, chosen, len(grid))
        else:
            results = {identity_of(trial): train_on(division, trial, _SEED) for trial in grid}
            found = Found(grid, results, chosen, 0, _SEED)
        estimate, truth = found.estimate(), _tested(division, found.ranking[0].trial)
        inside = estimate.low <= truth <= estimate.high
        errors.append((estimate.accuracy - truth, estimate.apparent - truth, inside))
    values = np.array(errors)
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    print(
        f"(d) {sampler}, {repeats} divisions, {len(grid)} heads, {train} to train on, {chosen} to "
        "choose on: "
        f"the estimate is off by {mean[0]:+.4f} ± {spread[0]:.4f}, the accuracy on the images that "
        f"chose by {mean[1]:+.4f} ± {spread[1]:.4f}; the truth lay in {values[:, 2].sum():.0f} of "
        f"{repeats} intervals"
    )


def proposed(division: Features, base: Any, images: int, count: int) -> Found:
    """Return the heads that the sampler proposes, none of them stopped early."""
    guides = guiding(images, _SEED)
    sampler = Proposals(DEFAULT_RANGES, base, 0, guides, _SEED)
    tried, results = list[Trial](), dict[str, Result]()
    while batch := sampler.ask(min(BATCH, count - len(tried))):
        found = {identity_of(trial): train_on(division, trial, _SEED) for trial in batch}
        sampler.tell(batch, found)
        tried += batch
        results |= found
    return Found(tried, results, images, 0, _SEED, guides)


def _tested(features: Features, trial: Trial) -> float:
    """Return the test accuracy of a trial's head."""
    train, validation, test = (
        (np.asarray(features.array(split), np.float32), features.labels(split))
        for split in ("train", "validation", "test")
    )
    layers, weights, _ = fit_head(
        train, validation, len(features.header.classes), trial.params,
        derive(_SEED, "train_head"), lambda _: None,
    )  # fmt: skip
    return float((apply_head(layers, weights, test[0]).argmax(axis=1) == test[1]).mean())


if __name__ == "__main__":
    typer.run(main)

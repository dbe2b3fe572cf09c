"""At which level to keep a fine-tuned model, from what the kept models do on test images.

    HEADSTART_SHARED=… python -m benchmarks.defaults.acceptance --repeats 4

Small sets of images are fine-tuned on small backbones, once for each seed, set and way; the outputs
for a pool of validation images and for test images are kept after every epoch. Stopping, choosing
and accepting are then repeated on validation images that are drawn from the pool, 40 and 80 of
them, without training anything again. Printed are, for each level: the share of models that are
kept; the mean gain on the test images over always taking the head, where a head that is kept gains
nothing; and the share of cases in which a model is kept that is significantly worse on the test
images than the head, in loss or in accuracy (a paired z beyond 1.96, which chance alone passes in
0.025 of the cases of equal models).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import typer

from benchmarks.defaults.examples import NETWORKS, ImageSet, archive_set, image_sets
from benchmarks.defaults.fine_tuning import Example
from benchmarks.defaults.heads import Array
from headstart.keras.runtime import configure, keras
from headstart.keras.training.fitting import fit
from headstart.keras.training.scoring import Scorer
from headstart.keras.training.tuner import Tuner
from headstart.stage.parameters import read_params
from headstart.training.acceptance import compare, doubt_of
from headstart.training.batches import BatchSource
from headstart.training.calibration import calibrate
from headstart.training.fit_head import fit_head
from headstart.training.head import head_logits
from headstart.training.parameters import FineTuneParams, TrainHeadParams
from headstart.training.scores import losses

_ROOT = Path(__file__).resolve().parents[2]
_TESTED = 320
LEVELS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 1.0)
WAYS: tuple[dict[str, Any], ...] = ({}, {"unfreeze": 7}, {"learning_rate": 3e-4})


class Job(NamedTuple):
    """A set (a name, or a slice of Tiny ImageNet's classes), a backbone, and images per class."""

    images: str | slice
    network: str
    seeds: int
    train: int
    pool: int


JOBS = (
    Job(slice(120, 123), "v1/0.25-128", 2, 60, 40),
    Job(slice(3, 8), "v2/0.35-96", 2, 50, 30),
    Job("alien", "v1/0.25-128", 2, 100, 60),
    Job("cats-dogs", "v2/0.35-96", 2, 100, 60),
    Job(slice(150, 152), "v1/0.25-128", 2, 80, 50),
    Job(slice(40, 50), "v1/0.25-128", 1, 40, 25),
    Job("alien", "v2-96", 1, 100, 60),
    Job(slice(170, 178), "v2/0.35-96", 1, 40, 25),
    Job(slice(20, 22), "v2/0.35-96", 2, 80, 50),
    Job(slice(60, 65), "v1/0.25-128", 2, 50, 30),
)


class Run(NamedTuple):
    """Logits of one fine-tuning after each epoch and of its head, for the pool and for test."""

    tuned: tuple[Array, Array]
    alone: tuple[Array, Array]
    labels: tuple[Array, Array]


def main(repeats: int = 4) -> None:
    """Train, then print a line for each number of validation images and level."""
    configure(2, 0)
    params = read_params(_ROOT / "params.yaml")
    runs = [run for job in JOBS for run in trained(job, params.train_head, params.fine_tune)]
    for count in (40, 80):
        cases = np.array(
            [case(run, count, seed) for run in runs for seed in range(repeats)]
        )  # fmt: skip
        p, loss, loss_z, accuracy, accuracy_z = cases.T
        for level in LEVELS:
            kept = (p <= level) if level < 1 else (p < 0.5)
            print(
                f"{count} validation images, level {level:g}: {kept.mean():.2f} of {len(cases)} "
                f"kept, loss {np.where(kept, loss, 0).mean():+.4f}, accuracy "
                f"{np.where(kept, accuracy, 0).mean():+.4f}, significantly worse in loss "
                f"{(kept & (loss_z > 1.96)).mean():.3f}, in accuracy "
                f"{(kept & (accuracy_z < -1.96)).mean():.3f}",
                flush=True,
            )


def case(run: Run, count: int, seed: int) -> tuple[float, ...]:
    """Choose on a few validation images; return p, and the differences on test with their z."""
    (pool, test), (pool_alone, test_alone), (held, truth) = run
    generator = np.random.default_rng(seed)
    classes = np.unique(held)
    rows = np.concatenate(
        [generator.permutation(np.flatnonzero(held == one))[: count // len(classes)]
         for one in classes]
    )  # fmt: skip
    labels, doubt = held[rows], doubt_of(len(rows))

    def scaled(logits: Array) -> tuple[Array, float]:
        temperature = calibrate(logits[rows], labels, "softmax", doubt).temperature
        return losses(logits[rows] / temperature, labels, "softmax", doubt), temperature

    theirs, warmth = scaled(pool_alone)
    ours = [scaled(each) for each in pool]
    best = min(range(len(ours)), key=lambda epoch: ours[epoch][0].mean())
    p = compare([ours[best][0]], theirs, np.arange(len(rows)), seed).p
    loss = losses(test[best] / ours[best][1], truth, "softmax") - losses(
        test_alone / warmth, truth, "softmax"
    )
    right = (test[best].argmax(axis=1) == truth).astype(float)
    right -= test_alone.argmax(axis=1) == truth
    return p, loss.mean(), _z(loss), right.mean(), _z(right)


def _z(values: Array) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values)) + 1e-12))


def trained(job: Job, head: TrainHeadParams, params: FineTuneParams) -> list[Run]:
    """Fine-tune in every way with every seed."""
    images = _images(job.images)
    example = Example(next(one for one in NETWORKS if one.name == job.network), images)
    y, classes, found = images.labels, len(np.unique(images.labels)), list[Run]()
    for seed in range(job.seeds):
        train, pool, test = _divide(y, job, seed)
        some = pool[:: max(1, 5 * job.pool // job.train)]  # The head chooses on a part of the pool.
        first, second = ((example.features[rows], y[rows]) for rows in (train, some))
        layers, weights, _ = fit_head(first, second, classes, head, seed, lambda _: None)
        alone = tuple(head_logits(layers, weights, example.features[r]) for r in (pool, test))
        for way in WAYS:
            keras.backend.clear_session()
            changes = {"epochs": 10, "early_stopping_patience": None, **way}
            (trial,) = params.model_copy(update=changes).trials()
            tuner = Tuner(*example.backbone, trial, layers, weights, seed)
            x = example.at(tuner.cut.after, tuner.lower_network)
            tuned = _outputs(tuner, x, y, (train, pool, test), seed)
            found.append(Run(tuned, (alone[0], alone[1]), (y[pool], y[test])))
    return found


def _outputs(
    tuner: Tuner, x: Array, y: Array, parts: Sequence[Array], seed: int
) -> tuple[Array, Array]:
    """Train all epochs; return the logits for the pool and for test after each."""
    train, pool, test = (BatchSource.of_array(x[rows], y[rows]) for rows in parts)
    scorers = [Scorer(tuner.model, part, "categorical_crossentropy") for part in (pool, test)]
    kept: list[list[Array]] = [[], []]

    def keep(_: str) -> None:
        for logits, scorer in zip(kept, scorers, strict=True):
            logits.append(scorer.logits())

    with mock.patch("headstart.keras.training.tuner.fit", partial(fit, say=keep)):
        tuner.fit(train, pool, seed, calibrated=True)
    return np.array(kept[0]), np.array(kept[1])


def _images(which: str | slice) -> ImageSet:
    if isinstance(which, str):
        return image_sets([which])[0]
    count = 200 if which.stop - which.start < 8 else 150
    return archive_set(
        f"tiny-{which.start}-{which.stop}", "tiny-imagenet-40k.zip", "tiny-imagenet/train/",
        which, count,
    )  # fmt: skip


def _divide(y: Array, job: Job, seed: int) -> list[Array]:
    """Draw the training images, the pool and the test images of a seed, class by class."""
    generator, parts = np.random.default_rng(seed), [[], [], []]  # type: ignore[var-annotated]
    ends = np.cumsum([job.train, job.pool, max(30, _TESTED // len(np.unique(y)))])
    for label in np.unique(y):
        order = generator.permutation(np.flatnonzero(y == label))
        for part, rows in zip(parts, np.split(order[: ends[-1]], ends[:-1]), strict=True):
            part.extend(rows)
    return [np.array(part) for part in parts]


if __name__ == "__main__":
    typer.run(main)

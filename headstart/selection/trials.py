"""One trial of a sweep: a head that is trained exactly as the stage ``train_head`` would train it.

Worker processes open the features once and train one head after the other.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_bytes
from headstart._utils.records import Record, Sha256
from headstart._utils.seeds import derive
from headstart.evaluation.metrics import wilson_interval
from headstart.exact import log
from headstart.features.folder import Features, read_features
from headstart.selection.grid import Trial
from headstart.selection.halves import guiding
from headstart.training.checkpoint import Progress
from headstart.training.fit_head import fit_head
from headstart.training.head import apply_head

#: Share of the epochs before which no trial is stopped.
_GRACE = 0.2
#: Points of the course of a training, evenly over its epochs.
POINTS = 20
_DIGITS = 9
_features: Features


class Result(Record):
    """What became of a trial.

    Attributes
    ----------
    identity : str
        SHA-256 of the parameters.
    outcome : {"trained", "stopped", "failed"}
        ``stopped``: it was hopeless. ``failed``: its training diverged.
    message : str
        Why it failed; "" otherwise.
    loss : float or None
        Validation loss, as the stage ``train_head`` records it; None unless it was trained.
    log_loss : float or None
        Mean negative logarithm of the labels' probabilities on the validation images: the same
        measure for softmax and sigmoid.
    guiding_loss : float or None
        The same on the images of :func:`headstart.selection.halves.guiding`.
    epochs, best_epoch : int
    course : tuple of float
        The highest validation accuracy so far, at :data:`POINTS` shares of the epochs.
    right : str
        Bits of the validation images that it classifies correctly, in hexadecimal.
    seconds : float
    """

    identity: Sha256
    outcome: Literal["trained", "stopped", "failed"]
    message: str = ""
    loss: float | None = None
    log_loss: float | None = None
    guiding_loss: float | None = None
    epochs: Annotated[int, Field(ge=0)] = 0
    best_epoch: Annotated[int, Field(ge=0)] = 0
    course: tuple[float, ...] = ()
    right: str = ""
    seconds: float = 0.0

    def correct(self, images: int) -> npt.NDArray[np.bool_]:
        """Return which of so many validation images it classifies correctly."""
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(self.right), np.uint8), count=images)
        return bits.astype(np.bool_)


class _HopelessError(Exception):
    """A trial is too far behind to catch up."""


def identity_of(trial: Trial) -> str:
    """Return the hash that names a trial in the journal."""
    return sha256_bytes(trial.identity.encode())


def is_hopeless(course: Sequence[float], reference: Sequence[float], images: int) -> bool:
    """Return whether a training is significantly behind the reference at its last point.

    Parameters
    ----------
    course, reference : sequence of float
        Highest validation accuracies so far, at the same shares of the epochs.
    images : int
        Validation images.
    """
    if not reference or len(course) < max(1, round(_GRACE * POINTS)):
        return False
    _, high = wilson_interval(round(course[-1] * images), images)
    return high < reference[min(len(course), len(reference)) - 1]


def open_features(folder: Path) -> None:
    """Prepare a worker process."""
    global _features  # noqa: PLW0603 - the state of a worker process
    # Progress bars of many processes would be drawn over one another.
    sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for its lifetime
    _features = read_features(folder)


def train(trial: Trial, seed: int, reference: Sequence[float] = ()) -> Result:
    """Train a head on the features of this worker.

    Parameters
    ----------
    trial : Trial
    seed : int
        Of params.yaml.
    reference : sequence of float
        The course that it must keep up with; empty: it is never stopped.
    """
    return train_on(_features, trial, seed, reference)


def train_on(
    features: Features, trial: Trial, seed: int, reference: Sequence[float] = ()
) -> Result:
    """Train a head as the stage does, and score it on the validation images."""
    start, identity = time.perf_counter(), identity_of(trial)
    labels = features.labels("validation")
    images, course = len(labels), list[float]()

    def watch(now: Progress) -> None:
        course[:] = _course(now, trial.params.epochs)
        if is_hopeless(course, reference, images):
            raise _HopelessError

    def ended(outcome: Literal["trained", "stopped", "failed"], **facts: Any) -> Result:
        seconds = round(time.perf_counter() - start, 3)
        return Result(
            identity=identity, outcome=outcome, course=tuple(course), seconds=seconds, **facts
        )

    validation = features.array("validation"), labels
    try:
        layers, weights, history = fit_head(
            _training(features, trial.views), validation, len(features.header.classes),
            trial.params, derive(seed, "train_head"), lambda _: None, watch,
        )  # fmt: skip
    except _HopelessError:
        return ended("stopped")
    except HeadstartError as error:
        return ended("failed", message=str(error))
    probabilities = apply_head(layers, weights, validation[0]).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    shares = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    losses = -log(np.maximum(shares[np.arange(images), labels], 1e-12))
    return ended(
        "trained",
        loss=float(history.epochs["val_loss"].iloc[history.best_epoch - 1]),
        log_loss=round(float(losses.mean()), _DIGITS),
        guiding_loss=round(float(losses[guiding(images, seed)].mean()), _DIGITS),
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        right=np.packbits(right).tobytes().hex(),
    )


def _training(features: Features, views: int) -> Any:
    """Return features and labels of the training images with so many of their views.

    The rows are those that the stage ``extract_features`` writes for that number of views.
    """
    array, labels = features.array("train"), features.labels("train")
    if views == features.header.view_count:
        return array, labels
    count = len(array) // (features.header.view_count + 1) * (views + 1)
    return array[:count], labels[:count]


def _course(now: Progress, epochs: int) -> list[float]:
    """Return the highest accuracy so far at each point that has been reached."""
    highest = np.maximum.accumulate([row["val_accuracy"] for row in now.epochs])
    reached = len(highest) * POINTS // epochs
    places = [-(-point * epochs // POINTS) - 1 for point in range(1, reached + 1)]
    return [float(highest[place]) for place in places]

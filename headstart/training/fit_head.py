"""Train a head on features: no image is read, no backbone runs, TensorFlow is not imported.

The layers, losses and optimizers are those of Keras, which builds the same head for exported files
and for fine-tuning. Importing TensorFlow would take longer than the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from headstart._utils.progress import progress
from headstart.backbones.weights import Weights
from headstart.features.parted_array import PartedArray
from headstart.training.batches import epoch_batches
from headstart.training.calibration import calibrate, score_logits
from headstart.training.checkpoint import Progress
from headstart.training.epochs import batch_table, diverged, run_epochs
from headstart.training.head import (
    LayerSpec,
    head_logits,
    head_spec,
    output_activation,
    tempered,
)
from headstart.training.history import History
from headstart.training.losses import gradients, measure
from headstart.training.network import Network, first_weights
from headstart.training.optimizers import Optimizer
from headstart.training.parameters import TrainHeadParams
from headstart.training.scores import check_trained, mean_loss
from headstart.training.settings import FitSettings

#: Features of shape (n, *feature_shape), may be memory-mapped; class indices of shape (n,).
Examples = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]]
_SHOWN_AFTER = 256  # batches


class TrainedHead(NamedTuple):
    """A trained head.

    Attributes
    ----------
    layers : list of dict
        See :mod:`headstart.training.head`.
    weights : dict of str to ndarray
        Named ``<position>.<weight>``.
    history : History
    """

    layers: list[LayerSpec]
    weights: Weights
    history: History


def fit_head(
    train: Examples,
    validation: Examples,
    n_classes: int,
    params: TrainHeadParams,
    seed: int,
    say: Callable[[str], None] = print,
    watch: Callable[[Progress], None] = lambda _: None,
) -> TrainedHead:
    """Train a head on features of images.

    Parameters
    ----------
    train, validation : tuple of ndarray
        Features and class indices; the validation examples choose the epoch.
    n_classes : int
    params : TrainHeadParams
    seed : int
        Of the first weights, of dropout, and of the order of images.
    say : callable
        Receives a line for each epoch.
    watch : callable
        Receives the state after each epoch; what it raises ends the training.

    Raises
    ------
    HeadstartError
        If the training diverges or explodes.
    """
    train, validation = _gathered(*train), _gathered(*validation)
    features, labels = train
    layers = head_spec(params, features.shape[1:], n_classes)
    balanced = params.class_weights == "balanced"
    settings = FitSettings.of(
        params,
        params.loss,
        seed,
        (labels, n_classes) if balanced else None,
        steps_per_epoch=params.steps_per_epoch,
        label_smoothing=params.label_smoothing,
        schedule=params.learning_rate_schedule,
        calibrated=params.calibration == "temperature",
    )
    network = Network(layers, first_weights(layers, features, seed), seed)
    # Small products on several cores take longer, and wait busily. Values that are not finite are
    # reported with their place.
    with threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
        trainer = HeadTrainer(network, train, validation, settings)
        now = Progress()
        history = run_epochs(trainer, settings, say, now, lambda: watch(now))
    weights = network.weights
    check_trained(layers, weights, *validation, params.learning_rate, say)
    if settings.calibrated:
        weights = calibrated(layers, weights, *validation, say)
    return TrainedHead(layers, weights, history)


def _gathered(features: Any, labels: npt.NDArray[np.integer[Any]]) -> Examples:
    gathered: Any = features.gathered() if isinstance(features, PartedArray) else features
    return gathered, labels


class HeadTrainer:
    """A network, its optimizer, and the features that it learns from.

    Parameters
    ----------
    network : Network
        It is changed.
    train, validation : tuple of ndarray
        Features and class indices.
    settings : FitSettings
        Batches have ``min(batch_size, len(train))`` rows, as in
        :func:`headstart.keras.training.fitting.fit`.
    """

    def __init__(
        self, network: Network, train: Examples, validation: Examples, settings: FitSettings
    ) -> None:
        self.network, self.settings = network, settings
        features, self._labels = train
        self._validation = network.block_inputs(validation[0]), validation[1]
        self._inputs = network.all_inputs(features)
        self._batch = min(settings.batch_size, len(features))
        self._steps = settings.steps_per_epoch or -(-len(features) // self._batch)
        self._optimizer = Optimizer(settings.optimizer, network.learning(), settings.weight_decay)

    def epoch(self, epoch: int) -> pd.DataFrame:
        """Train for an epoch; return loss, accuracy and count of images of each batch."""
        settings = self.settings
        rows, mask = epoch_batches(
            len(self._labels), self._batch, epoch, settings.steps_per_epoch, settings.seed
        )
        losses, correct = np.empty(len(rows)), np.empty(len(rows))
        self.network.start_epoch(epoch)
        with progress(len(rows), f"Epoch {epoch} of {settings.epochs}", "batch") as bar:
            for start in range(0, len(rows), _SHOWN_AFTER):
                part = slice(start, start + _SHOWN_AFTER)
                first = (epoch - 1) * self._steps + start
                labels, counted = self._labels[rows[part]], mask[part].astype(np.float64)
                factors = self._factors(labels, counted) / counted.sum(axis=1, keepdims=True)
                logits = [
                    self._step(*batch, self._rate(first + step))
                    for step, batch in enumerate(zip(rows[part], labels, factors, strict=True))
                ]
                losses[part], correct[part] = self._measured(logits, labels, counted)
                bar.update(len(logits))
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise diverged(f"in epoch {epoch}, batch {bad[0] + 1}", settings)
        return batch_table(epoch, losses, correct, mask.sum(axis=1, dtype=np.float64))

    def validate(self, epoch: int) -> tuple[float, float]:
        """Return loss, with the best temperature if it is asked for, and accuracy."""
        inputs, labels = self._validation
        settings = self.settings
        logits = self.network.predict_inputs(inputs)
        found = score_logits(logits, labels, settings.loss, calibrated=settings.calibrated)
        if not math.isfinite(found[0]):
            raise diverged(f"on the validation split after epoch {epoch}", settings)
        return found

    def rate(self, epoch: int) -> float:
        """Return the learning rate of the last step of an epoch."""
        return self._rate(epoch * self._steps - 1)

    def weights(self) -> list[npt.NDArray[Any]]:
        """Return a copy of all weights."""
        return [array.copy() for array in self.network.weights.values()]

    def restore(self, weights: list[npt.NDArray[Any]]) -> None:
        """Restore a copy of the weights."""
        for array, kept in zip(self.network.weights.values(), weights, strict=True):
            array[...] = kept

    def _step(
        self, rows: npt.NDArray[np.int32], labels: npt.NDArray[np.integer[Any]],
        factors: npt.NDArray[np.float64], rate: float,
    ) -> npt.NDArray[np.float64]:  # fmt: skip
        """Train on a batch, whose images count by factors; return its logits from before."""
        settings = self.settings
        logits = self.network.forward(self._inputs[rows].astype(np.float64))
        found = gradients(settings.loss, logits, labels, settings.label_smoothing)
        found *= factors[:, None]
        self._optimizer.step(self.network.backward(found), rate)
        return logits

    def _measured(
        self, logits: list[npt.NDArray[np.float64]], labels: npt.NDArray[np.integer[Any]],
        counted: npt.NDArray[np.float64],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:  # fmt: skip
        """Return the sums of loss and right answers of each batch, over the rows that count.

        Of many batches at once, which takes a fraction of the time of one by one.
        """
        settings = self.settings
        found = measure(
            settings.loss, np.concatenate(logits), labels.ravel(), settings.label_smoothing
        )
        losses = self._factors(labels, counted) * found.losses.reshape(labels.shape)
        right = counted * found.right.reshape(labels.shape)
        # In float32, because the last bit of a logarithm depends on the processor.
        return losses.sum(axis=1).astype(np.float32), right.sum(axis=1)

    def _factors(
        self, labels: npt.NDArray[np.integer[Any]], counted: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        weights = self.settings.class_weights
        return counted if weights is None else counted * weights[labels]

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 over the training."""
        settings = self.settings
        if settings.schedule == "constant":
            return settings.learning_rate
        done = step / (settings.epochs * self._steps)
        return float(np.float32(settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))))


def calibrated(
    layers: list[LayerSpec],
    weights: Weights,
    features: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    say: Callable[[str], None] = print,
    doubt: float = 0.0,
) -> Weights:
    """Return the weights with the temperature that fits validation features, and report it."""
    logits, activation = head_logits(layers, weights, features), output_activation(layers)
    before = mean_loss(logits, labels, activation, doubt)
    found = calibrate(logits, labels, activation, doubt)
    say(
        f"Calibrated with temperature {found.temperature:g}: validation loss "
        f"{before:.4f} -> {found.loss:.4f}; no class changes."
    )
    return tempered(layers, weights, found.temperature)

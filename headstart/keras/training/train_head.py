"""Training of a head on features: no image is read, no backbone is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.backbones.weights import Weights
from headstart.keras.training.fitting import fit
from headstart.keras.training.head import (
    build_head,
    dump_head,
    logits_model,
    set_statistics,
    start_at_zero,
)
from headstart.keras.training.settings import FitSettings
from headstart.training.batches import BatchSource
from headstart.training.calibration import calibrate
from headstart.training.head import (
    LayerSpec,
    head_logits,
    head_spec,
    output_activation,
    tempered,
)
from headstart.training.history import History
from headstart.training.parameters import TrainHeadParams
from headstart.training.scores import check_trained, mean_loss

#: Features of shape (n, *feature_shape), may be memory-mapped; class indices of shape (n,).
Examples = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]]


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
) -> TrainedHead:
    """Train a head on features of images, in a process whose TensorFlow is configured already.

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

    Raises
    ------
    HeadstartError
        If the training diverges or explodes.
    """
    features, labels = train
    layers = head_spec(params, features.shape[1:], n_classes)
    head = build_head(layers, features.shape[1:], seed)
    start_at_zero(head)
    set_statistics(head, features)
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
    history = fit(
        logits_model(head),
        BatchSource.of_array(*train),
        BatchSource.of_array(*validation),
        settings,
        say,
    )
    weights = dump_head(head)
    check_trained(layers, weights, *validation, params.learning_rate, say)
    if settings.calibrated:
        weights = calibrated(layers, weights, *validation, say)
    return TrainedHead(layers, weights, history)


def calibrated(
    layers: list[LayerSpec],
    weights: Weights,
    features: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    say: Callable[[str], None] = print,
) -> Weights:
    """Return the weights with the temperature that fits validation features; say which it is."""
    logits, activation = head_logits(layers, weights, features), output_activation(layers)
    before = mean_loss(logits, labels, activation)
    found = calibrate(logits, labels, activation)
    say(
        f"Calibrated with temperature {found.temperature:g}: validation loss "
        f"{before:.4f} -> {found.loss:.4f}; no class changes."
    )
    return tempered(layers, weights, found.temperature)

"""Validation scores: they decide the epoch and which model is kept.

Loss and accuracy stand here, below :mod:`headstart.evaluation`, because they decide what is
trained: a new metric of the evaluation must not train anything again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import DivergedError
from headstart.backbones.weights import Weights
from headstart.exact import exp, log, log1p
from headstart.features.header import FeaturesHeader
from headstart.training.head import LayerSpec, class_count, head_logits, output_activation
from headstart.training.history import History
from headstart.training.model_folder import ModelRecord, Scores
from headstart.training.parameters import TrainHeadParams

#: Decimals of a recorded loss. The bits beyond them depend on the CPU's matrix product.
DIGITS = 9
#: Mean size of an image's largest logit. Beyond 100, float32 gives probabilities of 0 and 1 only.
_EXPLODED = 1e4
#: A learning rate that trains a head on nearly any features.
_USUAL_RATE = 0.001


def mean_loss(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    activation: str,
    doubt: float = 0.0,
) -> float:
    """Return the mean loss in nats, with the arguments of :func:`losses`."""
    return float(np.mean(losses(logits, labels, activation, doubt)))


def losses(
    logits: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    activation: str,
    doubt: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return each image's loss in nats, from logits: finite however confident a mistake is.

    Parameters
    ----------
    logits : ndarray of shape (n, n_classes)
        Computed in float64, whatever their dtype.
    labels : ndarray of shape (n,), integers
        Class indices.
    activation : {"softmax", "sigmoid"}
        Categorical cross-entropy for ``softmax``; for ``sigmoid`` the binary cross-entropy of each
        class against the rest, averaged over the classes.
    doubt : float
        Share of each image that counts as if its label were the most probable other class.
    """
    wide = np.asarray(logits, np.float64)
    if doubt:
        rest = wide.copy()
        rest[np.arange(len(labels)), labels] = -np.inf
        other = losses(wide, rest.argmax(axis=1), activation)
        return np.asarray((1 - doubt) * losses(wide, labels, activation) + doubt * other)
    own = wide[np.arange(len(labels)), labels]
    if activation == "softmax":
        top = wide.max(axis=1)
        total = log(exp(wide - top[:, None]).sum(axis=1)) + top
        return np.asarray(total - own)
    # -log(1 - sigmoid(x)) = log(1 + e^x) for every class; the own class has log(1 + e^-x), x less.
    softplus = np.maximum(wide, 0.0) + log1p(exp(-np.abs(wide)))
    return np.asarray((softplus.sum(axis=1) - own) / wide.shape[1])


def score(
    record: ModelRecord,
    weights: Weights,
    features: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
) -> Scores:
    """Return loss and accuracy of a head on features; both models are scored in this way."""
    logits = head_logits(record.head, weights, features)
    return Scores(
        loss=round(mean_loss(logits, labels, output_activation(record.head)), DIGITS),
        accuracy=float(np.mean(logits.argmax(axis=1) == labels)),
    )


def check_trained(
    layers: list[LayerSpec],
    weights: Weights,
    features: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    learning_rate: float,
    say: Callable[[str], None] = print,
) -> None:
    """Refuse a head whose training exploded; warn of one that does not distinguish classes.

    Neither is seen in the accuracy alone: huge weights can classify easy images without a mistake,
    and one class for all images is mostly right where one class has most of the images.

    Parameters
    ----------
    layers, weights
        The trained head.
    features, labels : ndarray
        Of the validation images.
    learning_rate : float
    say : callable
        Receives each warning.

    Raises
    ------
    DivergedError
        If the logits are so large that no probability lies between 0 and 1.
    """
    logits = head_logits(layers, weights, features)
    size = float(np.abs(logits).max(axis=1).mean())
    if not size <= _EXPLODED:
        raise DivergedError(
            f"Training exploded: the largest output per validation image has a mean size of "
            f"{size:.2g} before the activation, at most {_EXPLODED:g} is accepted. Every "
            f"probability would be 0 or 1. Nothing was written. {rate_hint(learning_rate)}"
        )
    activation = output_activation(layers)
    loss = mean_loss(logits, labels, activation)
    uniform = math.log(class_count(layers) if activation == "softmax" else 2)
    if len(np.unique(labels)) > 1 and len(np.unique(logits.argmax(axis=1))) == 1:
        then = rate_hint(learning_rate) if learning_rate > _USUAL_RATE else "Train more epochs."
        say(
            f"Warning: the model gives the same class to all {len(labels):,} validation images: "
            f"it does not distinguish them. {then}"
        )
    elif loss > uniform:
        say(
            f"Warning: the validation loss {loss:.4g} is above {uniform:.4g}, that of equal "
            "probabilities for all classes. The model is often sure and wrong, so its "
            f"probabilities cannot be trusted. {rate_hint(learning_rate)}"
        )


def rate_hint(learning_rate: float) -> str:
    """Return which learning rate to try after one that was too high, as a sentence."""
    lower = min(learning_rate / 10, _USUAL_RATE)
    return f"The learning rate {learning_rate:g} is probably too high; try {lower:g}."


def head_record(
    header: FeaturesHeader, layers: list[LayerSpec], history: History, params: TrainHeadParams
) -> ModelRecord:
    """Return the record of a trained head, with the scores of the epoch that was taken."""
    patience = params.early_stopping_patience
    best, epochs = history.best_epoch, len(history.epochs)
    scores = history.epochs.iloc[best - 1]
    if patience is None:
        why = f"the last of {epochs} epochs"
    else:
        end = (
            f"stopped after {patience} without improvement" if history.stopped_early else "all run"
        )
        why = f"the lowest validation loss, in epoch {best} of {epochs} ({end})"
    return ModelRecord(
        kind="head",
        classes=header.classes,
        feature_shape=header.feature_shape,
        head=tuple(layers),
        backbone=header.backbone,
        validation=Scores(loss=float(scores["val_loss"]), accuracy=float(scores["val_accuracy"])),
        chosen_because=why,
        class_weights=params.class_weights,
        calibration=params.calibration,
    )

"""The settings that trainings of a head and of the top of a backbone share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.training.batches import balanced_class_weights
from headstart.training.parameters import Loss, Schedule, TrainHeadParams, Tuning


@dataclass(frozen=True)
class FitSettings:
    """The settings of a training.

    Attributes
    ----------
    loss : "categorical_crossentropy" | "binary_crossentropy"
        Softmax over the classes, or every class against the rest (mean over the classes).
    seed : int
        Of the order of images.
    steps_per_epoch : int or None
        Batches per epoch; None: every image once. See
        :func:`headstart.training.batches.epoch_batches`.
    patience : int or None
        Stop when the validation loss has not improved for this many epochs, and restore the best
        weights. None: all epochs, the last weights.
    calibrated : bool
        True if that loss is measured with the temperature that fits each epoch best, as the model
        will be calibrated: training makes a head overconfident long before it makes it worse.
    doubt : float
        Share of each validation image that counts as if its label were the second guess.
    schedule : {"cosine", "constant"}
        ``cosine`` lowers the learning rate to 0 over all epochs.
    warm_up : int
        Epochs over which the learning rate rises from 0, with ``cosine``.
    label_smoothing : float
        Share of each label that is spread over all classes in the training loss.
    class_weights : ndarray of shape (n_classes,) or None
        Factor of each class in the training loss; validation is never weighted.
    weight_decay : float
        Decoupled, on kernels alone (neither biases nor normalization).
    """

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    loss: Loss
    seed: int
    steps_per_epoch: int | None = None
    patience: int | None = None
    class_weights: npt.NDArray[np.float64] | None = None
    weight_decay: float = 0.0
    calibrated: bool = False
    doubt: float = 0.0
    schedule: Schedule = "constant"
    warm_up: int = 0
    label_smoothing: float = 0.0

    @classmethod
    def of(
        cls,
        params: TrainHeadParams | Tuning,
        loss: Loss,
        seed: int,
        balanced_for: tuple[npt.NDArray[np.integer[Any]], int] | None,
        **others: Any,
    ) -> FitSettings:
        """Return the settings in either section; ``balanced_for``: labels and number of classes."""
        return cls(
            epochs=params.epochs,
            batch_size=params.batch_size,
            optimizer=params.optimizer,
            learning_rate=params.learning_rate,
            patience=params.early_stopping_patience,
            weight_decay=params.weight_decay,
            loss=loss,
            seed=seed,
            class_weights=balanced_class_weights(*balanced_for) if balanced_for else None,
            **others,
        )

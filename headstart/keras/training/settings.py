"""Keras' learning rate and optimizer from the settings of a training."""

from __future__ import annotations

from typing import Any

from headstart.keras.runtime import keras
from headstart.training.parameters import OPTIMIZERS
from headstart.training.settings import FitSettings


def schedule_of(settings: FitSettings, steps: int) -> Any:
    """Return the learning rate: a number, or Keras' schedule over this many steps per epoch."""
    if settings.schedule == "constant":
        return settings.learning_rate
    warm = min(settings.warm_up, settings.epochs - 1) * steps
    decay = settings.epochs * steps - warm
    if not warm:
        return keras.optimizers.schedules.CosineDecay(settings.learning_rate, decay)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay, warmup_target=settings.learning_rate, warmup_steps=warm
    )


def optimizer_of(settings: FitSettings, schedule: Any, variables: list[Any]) -> Any:
    """Return the optimizer of Keras, built for these variables."""
    make = getattr(keras.optimizers, OPTIMIZERS[settings.optimizer].in_keras)
    # Without a value, Keras' own: AdamW decays by 0.004, the others not at all.
    given = {"weight_decay": settings.weight_decay} if settings.weight_decay else {}
    optimizer = make(schedule, **given)
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
    optimizer.build(variables)
    return optimizer

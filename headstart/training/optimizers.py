"""The one table of optimizers: parameters, Keras and the documentation read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Optimizer:
    """An optimizer that a section of params.yaml may name.

    Attributes
    ----------
    keras_class : str
        Its class in ``keras.optimizers``. Each of them takes the decoupled ``weight_decay``.
    decays : bool
        Whether the optimizer is defined by its weight decay, which then must not be 0.
    """

    keras_class: str
    decays: bool = False


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adam": Optimizer("Adam"),
    "rmsprop": Optimizer("RMSprop"),
    "sgd": Optimizer("SGD"),
}

if TYPE_CHECKING:  # A type checker sees no table.
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]

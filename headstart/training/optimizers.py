"""The optimizers in NumPy that train heads.

Fine-tuning uses Keras' own. Their steps are the same, and tests compare them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from headstart.training.parameters import OPTIMIZERS

Array = npt.NDArray[np.float32]
#: From a gradient, the memory of a weight, the number of the step (from 1) and the learning rate to
#: what is subtracted from the weight. The memory is changed.
Rule = Callable[[Array, list[Array], int, float], Array]

_EPSILON = 1e-7
_BETA_1, _BETA_2 = 0.9, 0.999
_RHO = 0.9
#: Values that are changed at once: intermediate results stay in the processor's cache.
_VALUES = 1 << 15


def _adam(gradient: Array, memory: list[Array], step: int, rate: float) -> Array:
    mean, square = memory
    mean += (gradient - mean) * (1 - _BETA_1)
    square += (gradient * gradient - square) * (1 - _BETA_2)
    correction = rate * math.sqrt(1 - _power(_BETA_2, step)) / (1 - _power(_BETA_1, step))
    return np.asarray(mean * correction / (np.sqrt(square) + _EPSILON))


def _rmsprop(gradient: Array, memory: list[Array], _step: int, rate: float) -> Array:
    (square,) = memory
    square *= _RHO
    square += (1 - _RHO) * gradient * gradient
    return np.asarray(rate * gradient / np.sqrt(square + _EPSILON))


def _sgd(gradient: Array, _memory: list[Array], _step: int, rate: float) -> Array:
    return rate * gradient


def _power(base: float, exponent: int) -> float:
    """Return a power by products alone: a math library's may differ in the last bit."""
    found = 1.0
    while exponent:
        if exponent & 1:
            found *= base
        base *= base
        exponent >>= 1
    return found


#: The rules that the table of optimizers names, with the number of arrays that each remembers of a
#: weight, zero at first.
RULES: Mapping[str, tuple[Rule, int]] = {
    "adam": (_adam, 2),
    "rmsprop": (_rmsprop, 1),
    "sgd": (_sgd, 0),
}


class Optimizer:
    """An optimizer of some weights, which it changes in place.

    Parameters
    ----------
    name : str
        In the table.
    weights : mapping of str to ndarray
        Those that learn.
    weight_decay : float
        Decoupled: each step shrinks kernels (no biases, no normalization) by this share of the
        learning rate. 0: Keras' own.
    """

    def __init__(self, name: str, weights: Mapping[str, Array], weight_decay: float) -> None:
        spec = OPTIMIZERS[name]
        self._rule, memories = RULES[spec.rule]
        self._weights = weights
        self._decay = weight_decay or spec.weight_decay
        self._memory = {
            key: [np.zeros(array.size, np.float32) for _ in range(memories)]
            for key, array in weights.items()
        }
        self._steps = 0

    def step(self, gradients: Mapping[str, npt.NDArray[np.float64]], rate: float) -> None:
        """Change the weights by their gradients."""
        self._steps += 1
        for name, weight in self._weights.items():
            kept = 1 - self._decay * rate if weight.ndim > 1 else 1.0
            gradient = gradients[name].ravel()
            for start in range(0, weight.size, _VALUES):
                part = slice(start, start + _VALUES)
                memory = [array[part] for array in self._memory[name]]
                given = gradient[part].astype(np.float32)
                own = weight.reshape(-1)[part]
                own *= kept
                own -= self._rule(given, memory, self._steps, rate)

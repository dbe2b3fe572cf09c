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
    change = gradient - mean
    change *= 1 - _BETA_1
    mean += change
    np.multiply(gradient, gradient, out=change)
    change -= square
    change *= 1 - _BETA_2
    square += change
    correction = rate * math.sqrt(1 - _power(_BETA_2, step)) / (1 - _power(_BETA_1, step))
    size = np.sqrt(square)
    size += _EPSILON
    np.multiply(mean, correction, out=change)
    change /= size
    return change


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
        # In one row, because a rule takes longer for two short arrays than for a long one.
        count = sum(array.size for array in weights.values())
        self._gradient = np.zeros(count, np.float32)
        self._memory = [np.zeros(count, np.float32) for _ in range(memories)]
        self._steps = 0

    def step(self, gradients: Mapping[str, npt.NDArray[np.float64]], rate: float) -> None:
        """Change the weights by their gradients."""
        self._steps += 1
        self._each(lambda name, _, row: np.copyto(row, gradients[name].ravel(), "same_kind"))
        row = self._gradient
        for start in range(0, row.size, _VALUES):
            part = slice(start, start + _VALUES)
            memory = [array[part] for array in self._memory]
            row[part] = self._rule(row[part], memory, self._steps, rate)
        kept = 1 - self._decay * rate

        def change(_: str, weight: Array, row: Array) -> None:
            own = weight.reshape(-1)
            if weight.ndim > 1:
                own *= kept
            own -= row

        self._each(change)

    def _each(self, action: Callable[[str, Array, Array], None]) -> None:
        """Call with each weight, its name, and its place in the row of all."""
        start = 0
        for name, weight in self._weights.items():
            action(name, weight, self._gradient[start : start + weight.size])
            start += weight.size

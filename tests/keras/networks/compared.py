"""The difference of any function from a Keras model, as the conversion measures it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.keras.networks.conversion import difference_in_std, run_keras


def compare(model: Any, function: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> float:
    """Return how far the function's features are from those of Keras, in deviations of each."""
    return difference_in_std(run_keras(model, batch), function(batch))

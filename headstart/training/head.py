"""The head in NumPy: what evaluation and prediction need, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart.training.head_layers import (
    check_spec,
    class_count,
    one_output,
    output_activation,
    weight_shapes,
)

#: Rows computed at once. Fixed, because the shape of a product may decide its last bits.
_ROWS = 1024

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def apply_head(
    spec: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Float32],
    features: npt.NDArray[np.floating[Any]],
) -> Float32:
    """Probabilities of each class for each row of features.

    Parameters
    ----------
    spec : sequence of dict
        Layers of the head, see :mod:`headstart.training.head_layers`.
    weights : mapping of str to ndarray of float32
        Named ``<position>.<weight>``.
    features : ndarray of shape (n, *feature_shape), float16 or float32
        May be memory-mapped; it is read in blocks.

    Returns
    -------
    ndarray of shape (n, n_classes), float32
        Rows of a softmax head sum to 1; those of a sigmoid head are one-against-the-rest.

    Raises
    ------
    HeadstartError
        If weights, features and layers do not fit together.
    """
    return activate(output_activation(spec), head_logits(spec, weights, features))


def head_logits(
    spec: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Float32],
    features: npt.NDArray[np.floating[Any]],
) -> Float64:
    """The last layer's outputs before its activation, (n, n_classes), float64.

    Of a single output z the two columns 0 and z, whose softmax is its sigmoid.

    Computed in double precision: the rounding to float32 afterwards then hides nearly every
    difference between the matrix products of different processors, which single precision shows.
    """
    layers = _fitting_layers(spec, weights, features)
    wide = {name: array.astype(np.float64) for name, array in weights.items()}
    logits = np.zeros((len(features), class_count(layers)), np.float64)
    own = logits[:, 1:] if one_output(layers) else logits
    for start in range(0, len(features), _ROWS):
        block = np.asarray(features[start : start + _ROWS], np.float64)
        own[start : start + _ROWS] = _forward(layers, wide, block)
    return logits


def activate(activation: str, logits: Float64) -> Float32:
    """Softmax or sigmoid of logits, in float64 and without overflow, as float32."""
    if activation == "softmax":
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
    # exp of a number that is never positive: neither branch overflows.
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), np.float32)


def _forward(layers: list[dict[str, Any]], weights: Mapping[str, Float64], x: Float64) -> Float64:
    for index, layer in enumerate(layers):
        kind = layer["kind"]
        if kind == "flatten":
            x = x.reshape(len(x), -1)
        elif kind == "batch_normalization":
            scale = weights[f"{index}.gamma"] / np.sqrt(
                weights[f"{index}.moving_variance"] + layer["epsilon"]
            )
            x = x * scale + (weights[f"{index}.beta"] - weights[f"{index}.moving_mean"] * scale)
        elif kind == "dense":
            x = x @ weights[f"{index}.kernel"] + weights[f"{index}.bias"]
            if layer["activation"] == "relu":
                x = np.maximum(x, 0.0)
    return x


def _fitting_layers(
    spec: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Float32],
    features: npt.NDArray[np.floating[Any]],
) -> list[dict[str, Any]]:
    try:
        layers = check_spec(spec)
        expected = weight_shapes(layers, features.shape[1:])
    except ValueError as error:
        raise HeadstartError(f"The head cannot be computed: {error}.") from None
    got = {name: array.shape for name, array in weights.items()}
    if got != expected:
        wrong = sorted(
            name for name in set(got) | set(expected) if got.get(name) != expected.get(name)
        )
        parts = [f"{n} is {got.get(n, 'absent')}, not {expected.get(n, 'known')}" for n in wrong]
        raise HeadstartError(
            f"The head's weights do not fit features of shape {features.shape[1:]}: "
            f"{'; '.join(parts)}. Head and features come from different runs; run the pipeline."
        )
    return layers

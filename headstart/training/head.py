"""The head as data, and in NumPy: what evaluation and prediction need, without TensorFlow.

A head is a list of layers that Keras builds and NumPy computes, in order: ``{"kind": "flatten"}``,
``{"kind": "batch_normalization", "epsilon": e, "fixed": f}``, ``{"kind": "dropout", "rate": r}``,
``{"kind": "dense", "units": n, "activation": a}``. The last one is dense with softmax or sigmoid.
A weight is named ``<position in the list>.<weight>``. A ``fixed`` batch normalization learns
nothing: it standardizes with the mean and variance of the training features.

A last layer of one unit with sigmoid distinguishes two classes: its output z is the logit of the
second one. That is a softmax of (0, z), and beyond the layer itself it is treated as one: logits
and probabilities have a column for each of the two classes wherever they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from headstart._utils.errors import HeadstartError
from headstart._utils.records import Record
from headstart.exact import exp
from headstart.training.parameters import Loss, TrainHeadParams

#: Rows computed at once. Fixed, because the shape of a product may decide its last bits.
_ROWS = 1024
#: Of the head's batch normalization, as Keras has it by default.
_EPSILON = 1e-3

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
LayerSpec = dict[str, Any]


class _Flatten(Record):
    kind: Literal["flatten"]


class _BatchNormalization(Record):
    kind: Literal["batch_normalization"]
    epsilon: Annotated[float, Field(gt=0, lt=1)]
    fixed: bool = False  # absent from older records


class _Dropout(Record):
    kind: Literal["dropout"]
    rate: Annotated[float, Field(ge=0, lt=1)]


class _Dense(Record):
    kind: Literal["dense"]
    units: Annotated[int, Field(ge=1, le=1_000_000)]
    activation: Literal["relu", "softmax", "sigmoid", "linear"]


_AnyLayer = Annotated[
    _Flatten | _BatchNormalization | _Dropout | _Dense, Field(discriminator="kind")
]
_HEAD: TypeAdapter[list[Any]] = TypeAdapter(
    Annotated[list[_AnyLayer], Field(min_length=1, max_length=100)]
)


def check_spec(spec: Sequence[Mapping[str, Any]]) -> list[LayerSpec]:
    """Return the layers as plain dicts, if they are a head.

    Raises
    ------
    ValueError
        Naming the layer and the field at fault.
    """
    try:
        layers = _HEAD.validate_python([dict(layer) for layer in spec])
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ValueError(f"head layer {place}: {fault['msg']}") from None
    plain: list[LayerSpec] = [layer.model_dump() for layer in layers]
    last = plain[-1]
    if last["kind"] != "dense" or last["activation"] not in {"softmax", "sigmoid"}:
        raise ValueError("the last head layer must be dense with softmax or sigmoid")
    if last["units"] == 1 and last["activation"] == "softmax":
        raise ValueError("the last head layer has one output, whose softmax is always 1")
    for index, layer in enumerate(plain[:-1]):
        if layer["kind"] == "flatten" and index:
            raise ValueError(f"head layer {index}: only the first layer can flatten")
        if layer.get("activation") in {"softmax", "sigmoid"}:
            raise ValueError(f"head layer {index}: only the last layer gives probabilities")
    return plain


def head_spec(
    params: TrainHeadParams, feature_shape: Sequence[int], n_classes: int
) -> list[LayerSpec]:
    """Return a head's layers: flatten a map; normalize; (dropout, dense relu) …; dropout; dense.

    Parameters
    ----------
    params : TrainHeadParams
        Hidden layers, normalization, dropout and activation.
    feature_shape : sequence of int
        Of one image's features: (1280,) pooled, (4, 4, 512) as a map.
    n_classes : int
        Units of the last layer, unless one output distinguishes two classes.
    """
    outputs = 1 if params.outputs == "one" else n_classes
    layers: list[LayerSpec] = [{"kind": "flatten"}] if len(feature_shape) > 1 else []
    if params.normalization != "none":
        fixed = params.normalization == "standardize"
        layers.append({"kind": "batch_normalization", "epsilon": _EPSILON, "fixed": fixed})
    dense = [(units, "relu") for units in params.hidden] + [(outputs, params.activation)]
    for units, activation in dense:
        if params.dropout > 0:
            layers.append({"kind": "dropout", "rate": params.dropout})
        layers.append({"kind": "dense", "units": units, "activation": activation})
    return layers


def one_output(spec: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if a single logit distinguishes two classes."""
    return bool(spec[-1]["units"] == 1)


def class_count(spec: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of classes that a head distinguishes."""
    return 2 if one_output(spec) else int(spec[-1]["units"])


def output_activation(spec: Sequence[Mapping[str, Any]]) -> str:
    """Return the activation that makes probabilities of the logits, which are one per class."""
    return "softmax" if one_output(spec) else str(spec[-1]["activation"])


def loss_of(spec: Sequence[Mapping[str, Any]]) -> Loss:
    """Return the loss that belongs to the last layer's activation."""
    softmax = spec[-1]["activation"] == "softmax"
    return "categorical_crossentropy" if softmax else "binary_crossentropy"


def tempered(
    spec: Sequence[Mapping[str, Any]], weights: Mapping[str, Float32], temperature: float
) -> dict[str, Float32]:
    """Return the weights with all logits divided by a temperature: the last layer's are.

    So the calibrated probabilities are those of an ordinary head, in every export format.
    """
    last = len(spec) - 1
    return {
        name: np.asarray(array / temperature, np.float32) if name.startswith(f"{last}.") else array
        for name, array in weights.items()
    }


def weight_shapes(
    spec: Sequence[Mapping[str, Any]], feature_shape: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight of a head on features of ``feature_shape``.

    Raises
    ------
    ValueError
        If the features are a map and the head does not flatten it first.
    """
    shape = tuple(feature_shape)
    found: dict[str, tuple[int, ...]] = {}
    for index, layer in enumerate(spec):
        if layer["kind"] == "flatten":
            shape = (math.prod(shape),)
        if len(shape) != 1:
            raise ValueError(f"features of shape {shape} need a flatten layer before the others")
        if layer["kind"] == "batch_normalization":
            for name in ("beta", "gamma", "moving_mean", "moving_variance"):
                found[f"{index}.{name}"] = shape
        elif layer["kind"] == "dense":
            found[f"{index}.bias"] = (layer["units"],)
            found[f"{index}.kernel"] = (shape[0], layer["units"])
            shape = (layer["units"],)
    return found


def apply_head(
    spec: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Float32],
    features: npt.NDArray[np.floating[Any]],
) -> Float32:
    """Return the probability of each class for each row of features.

    Parameters
    ----------
    spec : sequence of dict
        Layers of the head, see :mod:`headstart.training.head`.
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
    """Return the last layer's outputs before its activation, (n, n_classes), float64.

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
    """Return softmax or sigmoid of logits, in float64 and without overflow, as float32."""
    if activation == "softmax":
        raised = exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
    # exp of a number that is never positive: neither branch overflows.
    small = exp(-np.abs(logits))
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

"""The head as data: a list of layers that Keras builds and NumPy computes.

Layers, in order: ``{"kind": "flatten"}``, ``{"kind": "batch_normalization", "epsilon": e}``,
``{"kind": "dropout", "rate": r}``, ``{"kind": "dense", "units": n, "activation": a}``. The last one
is dense with softmax or sigmoid. A weight is named ``<position in the list>.<weight>``.

A last layer of one unit with sigmoid tells two classes apart: its output z is the logit of the
second one. That is a softmax of (0, z), and beyond the layer itself it is treated as one: logits
and probabilities have a column for each of the two classes wherever they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

LayerSpec = dict[str, Any]


class _Layer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Flatten(_Layer):
    kind: Literal["flatten"]


class _BatchNormalization(_Layer):
    kind: Literal["batch_normalization"]
    epsilon: Annotated[float, Field(gt=0, lt=1)]


class _Dropout(_Layer):
    kind: Literal["dropout"]
    rate: Annotated[float, Field(ge=0, lt=1)]


class _Dense(_Layer):
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
    """The layers as plain dicts, if they are a head.

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


def one_output(spec: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a single logit tells two classes apart."""
    return bool(spec[-1]["units"] == 1)


def class_count(spec: Sequence[Mapping[str, Any]]) -> int:
    """Classes that a head tells apart."""
    return 2 if one_output(spec) else int(spec[-1]["units"])


def output_activation(spec: Sequence[Mapping[str, Any]]) -> str:
    """``softmax`` or ``sigmoid``: how the logits, one a class, become probabilities."""
    return "softmax" if one_output(spec) else str(spec[-1]["activation"])


def weight_shapes(
    spec: Sequence[Mapping[str, Any]], feature_shape: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a head on features of ``feature_shape`` (without batch).

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

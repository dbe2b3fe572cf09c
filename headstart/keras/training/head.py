"""The head in Keras: from parameters to layers, from layers to a model, weights in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.backbones.weights import Weights
from headstart.keras.runtime import keras
from headstart.training.head import check_spec, one_output, weight_shapes

LOGITS = "head_logits"
_WEIGHTS = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "Dense": ("kernel", "bias"),
}


def build_head(spec: Sequence[Mapping[str, Any]], input_shape: Sequence[int], seed: int = 0) -> Any:
    """Build a model from features to probabilities; its last operation is the activation.

    A single output z becomes the pair (0, z) before it, so that the model gives the probabilities
    of both classes. It is made of layers that any reader of a Keras file knows.

    Parameters
    ----------
    spec : sequence of dict
        Layers, see :mod:`headstart.training.head`.
    input_shape : sequence of int
        Of one image's features.
    seed : int
        Of the first weights and of dropout; each layer draws from a stream of its own.
    """
    layers = check_spec(spec)
    weight_shapes(layers, input_shape)  # Refuses a map without flatten, before Keras does.
    x = inputs = keras.Input(tuple(input_shape), name="features")
    for index, layer in enumerate(layers[:-1]):
        x = _layer(layer, f"head_{index}_{layer['kind']}", _seed(seed, index))(x)
    last = len(layers) - 1
    dense = {**layers[-1], "activation": "linear"}
    x = _layer(dense, LOGITS, _seed(seed, last))(x)
    activation = layers[-1]["activation"]
    if one_output(layers):
        x = keras.layers.Reshape((1, 1), name="pair_steps")(x)
        x = keras.layers.ZeroPadding1D((1, 0), name="pair_zero")(x)
        x = keras.layers.Reshape((2,), name="pair")(x)
        activation = "softmax"
    outputs = keras.layers.Activation(activation, name="probabilities")(x)
    return keras.Model(inputs, outputs, name="head")


def logits_model(head: Any) -> Any:
    """Return a model of the same layers as ``head``, up to the outputs before the activation.

    Losses are computed from logits: with probabilities, a confident mistake has no gradient.
    """
    return keras.Model(head.input, head.get_layer(LOGITS).output, name="head_to_logits")


def probabilities_of(head: Any, logits: Any) -> Any:
    """Apply the layers behind the logits to them."""
    names = [layer.name for layer in head.layers]
    for layer in head.layers[names.index(LOGITS) + 1 :]:
        logits = layer(logits)
    return logits


def dump_head(head: Any) -> Weights:
    """Return the weights of a model of :func:`build_head`, named ``<position>.<weight>``."""
    return {
        name: np.asarray(variable.numpy(), np.float32)
        for name, variable in _variables(head).items()
    }


def load_head(head: Any, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Load weights of :func:`dump_head`, or read from ``head.npz``, into a model."""
    variables = _variables(head)
    if set(variables) != set(weights):
        raise ValueError(f"the head has {sorted(variables)}, the weights are {sorted(weights)}")
    for name, variable in variables.items():
        variable.assign(weights[name])


def _layer(layer: Mapping[str, Any], name: str, seed: int) -> Any:
    layers = keras.layers
    if layer["kind"] == "flatten":
        return layers.Flatten(name=name)
    if layer["kind"] == "batch_normalization":
        fixed = layer.get("fixed", False)
        return layers.BatchNormalization(epsilon=layer["epsilon"], trainable=not fixed, name=name)
    if layer["kind"] == "dropout":
        return layers.Dropout(layer["rate"], seed=seed, name=name)
    return layers.Dense(
        layer["units"],
        activation=layer["activation"],
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        name=name,
    )


def _seed(seed: int, index: int) -> int:
    return derive(seed, "head layer", index) % 2**31


def _variables(head: Any) -> dict[str, Any]:
    layers = [layer for layer in head.layers if layer.name.startswith("head_")]
    return {
        f"{index}.{weight}": getattr(layer, weight)
        for index, layer in enumerate(layers)
        for weight in _WEIGHTS.get(type(layer).__name__, ())
    }

"""The layers of a Keras backbone: their graph, the cut between two parts, and what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.backbones.layers import Node
from headstart.keras.networks.backbone import cut_at
from headstart.keras.runtime import keras
from headstart.training.parameters import BatchNorm
from headstart.training.unfreezing import Cut, unfrozen

#: Name, kind, output for one image, parameters, those that are trained.
Layer = tuple[str, str, tuple[int, ...], int, int]


def nodes_of(base: Any) -> list[Node]:
    """Return the layers of a functional model, in its order, with what each reads and can learn.

    A layer can learn if it is trainable: call this before anything is frozen.
    """
    parents: dict[str, list[str]] = {}
    waiting = list(base.outputs)
    while waiting:
        history = waiting.pop()._keras_history  # noqa: SLF001 - Keras has no public way to the graph
        operation = history.operation
        if operation.name in parents:
            continue
        tensors = operation._inbound_nodes[history.node_index].input_tensors  # noqa: SLF001 - as above
        parents[operation.name] = [tensor._keras_history.operation.name for tensor in tensors]  # noqa: SLF001 - as above
        waiting.extend(tensors)
    # Operations are the layers and, in a few networks (MobileNetV3), sums outside of layers.
    return [
        Node(
            operation.name,
            tuple(parents[operation.name]),
            learns=bool(getattr(operation, "trainable_weights", ())),
            normalizes=isinstance(operation, keras.layers.BatchNormalization),
        )
        for operation in base.operations
        if operation.name in parents
    ]


def split(base: Any, cut: Cut) -> tuple[Any | None, Any]:
    """Return lower and upper part as models that share the layers of ``base``; nothing is copied.

    Returns
    -------
    lower : keras.Model or None
        Input of the backbone to the cut; None if the whole backbone lies above.
    upper : keras.Model
        The cut to the output of the backbone.
    """
    if cut.after is None:
        return None, base
    tensor = next(op for op in base.operations if op.name == cut.after).output
    return keras.Model(base.input, tensor, name="lower"), keras.Model(
        tensor, base.output, name="upper"
    )


def freeze(base: Any, unfrozen: Sequence[str], batch_norm: BatchNorm) -> None:
    """Make exactly these layers trainable (of BatchNormalization, only if it trains)."""
    names = set(unfrozen)
    base.trainable = True
    for layer in base.layers:
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name in names and (batch_norm == "train" or not normalizes)


def stop_dropout(base: Any, unfrozen: Sequence[str]) -> None:
    """Stop the dropout of all layers but these in training; inference never has any.

    A single layer may need to be called as in training (``batch_norm: train``), and Keras passes
    that flag to the whole upper part. Frozen batch normalization ignores it, dropout does not.
    """
    for layer in base.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.name not in unfrozen:
            layer.rate = 0.0


def multiply_adds(layer: Any) -> int:
    """Return the multiply-adds of a layer for one image, as its kernels tell."""
    kernels = [weight.shape for weight in layer.weights if "kernel" in weight.name]
    if not kernels:
        return 0
    _, *sides, _ = layer.output.shape
    return int(math.prod(sides)) * sum(int(math.prod(kernel)) for kernel in kernels)


def saved_by_caching(base: Any, cut: Cut) -> float:
    """Return the share of an epoch's arithmetic that the cached output of the lower part saves.

    An upper part counts three times: forward, and backward to its inputs and its weights.
    """
    names = [layer.name for layer in base.layers]
    costs = [multiply_adds(layer) for layer in base.layers]
    nodes = [node.name for node in nodes_of(base)]
    below = set() if cut.after is None else set(nodes[: nodes.index(cut.after) + 1])
    lower = sum(cost for name, cost in zip(names, costs, strict=True) if name in below)
    every = lower + 3 * (sum(costs) - lower)
    return lower / every if every else 0.0


def layers_of(
    base: keras.Model,
    cut: str | None,
    unfrozen_from: str | None,
    batch_norm: BatchNorm,
    *,
    alone: bool = False,
) -> list[Layer]:
    """List every layer of a backbone up to its cut, for ``headstart show model --layers``.

    Parameters
    ----------
    base : keras.Model
        Headless and uncut.
    cut : str or None
        As in a backbone's record.
    unfrozen_from : str or None
        First layer that is trained; None: the whole backbone is frozen.
    batch_norm : {"inference", "train"}
        True if the backbone's batch normalization learns with the trained layers.
    alone : bool
        True if ``unfrozen_from`` is the only layer that is trained, with frozen ones above it.
    """
    used = cut_at(base, cut)
    names = [node.name for node in nodes_of(used)]
    learning = [] if unfrozen_from is None else unfrozen(names, unfrozen_from, alone=alone)
    freeze(base, learning, batch_norm)
    return [
        (
            layer.name,
            type(layer).__name__,
            tuple(layer.output.shape[1:]),
            int(layer.count_params()),
            sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights),
        )
        for layer in used.layers
    ]

"""The layers of a head in NumPy: from features to logits, and from errors to gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from headstart.exact import on_grid, product, size
from headstart.features.array_rows import ArrayFile, empty
from headstart.training.head import LayerSpec, weight_shapes

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating[Any]]

#: Of the moving statistics of a batch normalization, as Keras has it by default.
_MOMENTUM = 0.99
#: Features that are computed at once.
_VALUES = 1 << 20
_START = {"gamma": 1.0, "moving_variance": 1.0}


def first_weights(
    spec: Sequence[Mapping[str, Any]], features: Features, seed: int
) -> dict[str, Float32]:
    """Return the weights that a training starts from, named ``<position>.<weight>``.

    Kernels are drawn from Glorot's uniform distribution, those of the last layer are zero: random
    ones would stay where the features never vary, as noise that no training removes. A leading
    batch normalization gets the features' own mean and variance. A fixed one keeps them. Another
    starts from them: the backbone is frozen, so these are what its moving averages would reach
    after some hundred batches, and a short training would end before they do, and validate on
    wrong ones.
    """
    found = {}
    last = f"{len(spec) - 1}."
    for name, shape in weight_shapes(spec, features.shape[1:]).items():
        array = np.full(shape, _START.get(name.partition(".")[2], 0.0), np.float32)
        if len(shape) == 2 and not name.startswith(last):
            generator = np.random.Generator(np.random.Philox(key=derive(seed, "head", name)))
            limit = math.sqrt(6 / sum(shape))
            array = (generator.random(shape, np.float32) * 2 - 1) * np.float32(limit)
        found[name] = array
    return found | statistics(spec, features)


def statistics(spec: Sequence[Mapping[str, Any]], features: Features) -> dict[str, Float32]:
    """Return the features' mean and variance as weights of a leading batch normalization.

    Without one, there are none.
    """
    layers = [(index, layer["kind"]) for index, layer in enumerate(spec)]
    index, kind = next(layer for layer in layers if layer[1] != "flatten")
    if kind != "batch_normalization":
        return {}
    width = math.prod(features.shape[1:])
    total, squares = np.zeros(width), np.zeros(width)
    for block in _blocks(features):
        total += block.sum(axis=0)
    mean = total / len(features)
    for block in _blocks(features):
        squares += np.square(block - mean).sum(axis=0)
    found = {"moving_mean": mean, "moving_variance": squares / len(features)}
    return {f"{index}.{name}": array.astype(np.float32) for name, array in found.items()}


def _parts(features: Features | ArrayFile) -> Iterator[slice]:
    """Yield slices of a few megabytes."""
    rows = max(1, _VALUES // math.prod(features.shape[1:]))
    for start in range(0, len(features), rows):
        yield slice(start, start + rows)


def _blocks(features: Features) -> Iterator[Float64]:
    for part in _parts(features):
        block = np.asarray(features[part], np.float64)
        yield block.reshape(len(block), -1)


class _Kept(NamedTuple):
    """Values of a layer's forward pass that the backward pass needs."""

    inputs: Float64
    other: Any = None


class Network:
    """A head that computes, for training and validation.

    It computes in double precision. Products are exact (:mod:`headstart.exact`), so that
    its bits depend neither on the processor nor on the number of threads.

    Parameters
    ----------
    spec : sequence of dict
        Layers, see :mod:`headstart.training.head`. Only a leading batch normalization is fixed.
    weights : mapping of str to ndarray
    seed : int
        Of dropout.

    Attributes
    ----------
    weights : dict of str to ndarray, float32
        They change with the training.
    """

    def __init__(
        self, spec: Sequence[LayerSpec], weights: Mapping[str, npt.NDArray[Any]], seed: int
    ) -> None:
        self.weights = {name: np.array(array, np.float32) for name, array in weights.items()}
        fixed = [layer["kind"] == "flatten" or layer.get("fixed", False) for layer in spec]
        self._learning = [(i, layer) for i, layer in enumerate(spec) if not fixed[i]]
        self._fixed = next((i for i, layer in enumerate(spec) if layer.get("fixed", False)), None)
        self._epsilon = spec[self._fixed]["epsilon"] if self._fixed is not None else 0.0
        self._seed = seed
        self._kept: list[_Kept] = []
        self.start_epoch(0)

    def learning(self) -> dict[str, Float32]:
        """Return the weights that learn; they change with the training."""
        owners = {str(index) for index, _ in self._learning}
        return {
            name: array
            for name, array in self.weights.items()
            if name.partition(".")[0] in owners and "moving" not in name
        }

    def start_epoch(self, epoch: int) -> None:
        """Set the random stream of dropout to that of an epoch."""
        key = derive(self._seed, "dropout", epoch)
        self._generator = np.random.Generator(np.random.Philox(key=key))

    def inputs(self, features: Features) -> Float64:
        """Return features as the first layer that learns takes them: flat, standardized, rounded.

        Returns
        -------
        ndarray of shape (n, width), float64
        """
        return on_grid(self._standardized(features))

    def all_inputs(self, features: Features) -> Float32 | ArrayFile:
        """Return the same of many features, on one grid for all batches that are made of them."""
        # Of two features, the larger one is not smaller when it is standardized and rounded, so
        # that the extremes decide the grid.
        ends = []
        for part in _parts(features):
            block = np.asarray(features[part])
            ends += [block.min(axis=0), block.max(axis=0)]
        return self._on_grid(features, size(self._standardized(np.stack(ends))))

    def block_inputs(self, features: Features) -> Float32 | ArrayFile:
        """Return the same of many features, each block of :meth:`predict` on a grid of its own."""
        return self._on_grid(features, None)

    def _on_grid(self, features: Features, largest: float | None) -> Float32 | ArrayFile:
        found = empty((len(features), math.prod(features.shape[1:])), np.float32)
        for part in _parts(features):  # 21 bits fit into float32 without rounding.
            found[part] = on_grid(self._standardized(features[part]), largest)
        return found

    def _standardized(self, features: Features) -> Float64:
        x = np.asarray(features, np.float64).reshape(len(features), -1)
        if self._fixed is None:
            return x
        mean, variance = (
            self.weights[f"{self._fixed}.moving_{name}"] for name in ("mean", "variance")
        )
        x = x - mean
        x /= np.sqrt(variance + self._epsilon)
        return x

    def predict(self, features: Features) -> Float64:
        """Return the logits of features in inference mode, (n, units of the last layer)."""
        return self.predict_inputs(self.block_inputs(features))

    def predict_inputs(self, inputs: Float32 | ArrayFile) -> Float64:
        """Return the same of :meth:`block_inputs`, which do not change with the training."""
        found = []
        for part in _parts(inputs):
            x = np.asarray(inputs[part], np.float64)
            for index, layer in self._learning:
                if layer["kind"] == "batch_normalization":
                    mean, variance = (
                        self.weights[f"{index}.moving_{name}"] for name in ("mean", "variance")
                    )
                    x = self._normalized(index, (x - mean) / np.sqrt(variance + layer["epsilon"]))
                elif layer["kind"] == "dense":
                    x = self._dense(index, layer, on_grid(x))
            found.append(x)
        return np.concatenate(found)

    def forward(self, x: Float64) -> Float64:
        """Return the logits of a batch of :meth:`inputs` in training mode."""
        self._kept = []
        for position, (index, layer) in enumerate(self._learning):
            kind = layer["kind"]
            if kind == "dropout":
                drawn = self._generator.random(x.shape, np.float32) >= layer["rate"]
                factors = drawn / (1 - layer["rate"])
                self._kept.append(_Kept(x, factors))
                x = x * factors
            elif kind == "batch_normalization":
                x = self._normalize(index, layer["epsilon"], x)
            else:
                grid = on_grid(x) if position else x
                x = self._dense(index, layer, grid)
                self._kept.append(_Kept(grid, x > 0 if layer["activation"] == "relu" else None))
        return x

    def backward(self, gradient: Float64) -> dict[str, Float64]:
        """Return the gradients of the weights from that of the logits of the last forward pass."""
        found: dict[str, Float64] = {}
        g = gradient
        for position, (index, layer) in reversed(list(enumerate(self._learning))):
            kept = self._kept[position]
            if layer["kind"] == "dropout":
                g = g * kept.other
            elif layer["kind"] == "batch_normalization":
                found[f"{index}.gamma"] = (g * kept.inputs).sum(axis=0)
                found[f"{index}.beta"] = g.sum(axis=0)
                n = len(g)
                apart = n * g - found[f"{index}.beta"] - kept.inputs * found[f"{index}.gamma"]
                g = self.weights[f"{index}.gamma"] * kept.other / n * apart
            else:
                g = g if kept.other is None else g * kept.other
                found[f"{index}.bias"] = g.sum(axis=0)
                g = on_grid(g)
                found[f"{index}.kernel"] = product(kept.inputs.T, g)
                if position:  # Nothing below the first layer learns.
                    g = product(g, on_grid(self.weights[f"{index}.kernel"]).T)
        return found

    def _dense(self, index: int, layer: LayerSpec, grid: Float64) -> Float64:
        x = product(grid, on_grid(self.weights[f"{index}.kernel"]))
        x += self.weights[f"{index}.bias"]
        return np.maximum(x, 0.0, out=x) if layer["activation"] == "relu" else x

    def _normalize(self, index: int, epsilon: float, x: Float64) -> Float64:
        """Normalize a batch by its own statistics, which the moving ones follow."""
        mean = x.sum(axis=0) / len(x)
        variance = np.square(x - mean).sum(axis=0) / len(x)
        for name, value in (("mean", mean), ("variance", variance)):
            moving = self.weights[f"{index}.moving_{name}"]
            moving *= _MOMENTUM
            moving += value * (1 - _MOMENTUM)
        inverse = 1 / np.sqrt(variance + epsilon)
        normal = (x - mean) * inverse
        self._kept.append(_Kept(normal, inverse))
        return self._normalized(index, normal)

    def _normalized(self, index: int, normal: Float64) -> Float64:
        return normal * self.weights[f"{index}.gamma"] + self.weights[f"{index}.beta"]

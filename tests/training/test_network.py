from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.training.head import LayerSpec, head_logits
from headstart.training.losses import gradients, measure
from headstart.training.network import Network, first_weights, statistics
from headstart.training.parameters import Loss

NORMAL: LayerSpec = {"kind": "batch_normalization", "epsilon": 1e-3, "fixed": False}
FIXED: LayerSpec = {**NORMAL, "fixed": True}
FLAT: LayerSpec = {"kind": "flatten"}
HIDDEN: LayerSpec = {"kind": "dense", "units": 5, "activation": "relu"}
DROPOUT: LayerSpec = {"kind": "dropout", "rate": 0.5}
SOFTMAX: LayerSpec = {"kind": "dense", "units": 3, "activation": "softmax"}
ONE: LayerSpec = {"kind": "dense", "units": 1, "activation": "sigmoid"}
SIGMOID: LayerSpec = {**SOFTMAX, "activation": "sigmoid"}


def features(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).gamma(2, size=shape).astype(np.float32)


def random_weights(spec: list[LayerSpec], x: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """Weights of any size, but a fixed normalization has neither scale nor shift."""
    generator = np.random.default_rng(1)
    fixed = [str(index) for index, layer in enumerate(spec) if layer.get("fixed")]
    return {
        name: array
        if name.partition(".")[0] in fixed
        else np.abs(array + generator.normal(scale=0.3, size=array.shape)).astype(np.float32)
        for name, array in first_weights(spec, x, 0).items()
    }


@pytest.mark.parametrize(
    ("spec", "loss"),
    [
        ([NORMAL, DROPOUT, HIDDEN, NORMAL, SOFTMAX], "categorical_crossentropy"),
        ([FIXED, HIDDEN, HIDDEN, SIGMOID], "binary_crossentropy"),
        ([DROPOUT, ONE], "binary_crossentropy"),
    ],
)
def test_gradients_are_the_slopes_of_the_loss(spec: list[LayerSpec], loss: Loss) -> None:
    x = features(20, 4)
    labels = np.arange(20) % (2 if spec[-1] is ONE else 3)
    start = random_weights(spec, x)

    def run(weights: dict[str, npt.NDArray[Any]]) -> tuple[Network, Any]:
        network = Network(spec, weights, seed=3)
        network.start_epoch(1)  # the same values are dropped every time
        return network, network.forward(network.inputs(x))

    network, logits = run(start)
    found = network.backward(gradients(loss, logits, labels, 0.1))
    assert set(found) == set(network.learning())
    step = 2.0**-9
    for name, gradient in found.items():
        place = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
        sides = []
        for sign in (1, -1):
            moved = {key: array.copy() for key, array in start.items()}
            moved[name][place] += sign * step
            sides.append(measure(loss, run(moved)[1], labels, 0.1).losses.sum())
        slope = (sides[0] - sides[1]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, rel=2e-2, abs=1e-3), name


@pytest.mark.parametrize("shape", [(6,), (2, 2, 3), (700, 1000)])
def test_statistics_are_the_features_own(shape: tuple[int, ...]) -> None:
    count = 9 if len(shape) == 2 else 9000
    spec = [FLAT, FIXED, SOFTMAX] if len(shape) > 1 else [FIXED, SOFTMAX]
    x = features(count, *shape)
    found, flat = statistics(spec, x), x.reshape(count, -1).astype(np.float64)
    index = len(spec) - 2
    np.testing.assert_allclose(found[f"{index}.moving_mean"], flat.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found[f"{index}.moving_variance"], flat.var(axis=0), rtol=1e-5)


def test_a_training_starts_from_equal_probabilities_and_seeded_hidden_layers() -> None:
    spec = [DROPOUT, HIDDEN, SOFTMAX]
    one, same, other = (first_weights(spec, features(3, 7), seed) for seed in (1, 1, 2))
    assert not any(one[name].any() for name in ("1.bias", "2.bias", "2.kernel"))
    assert np.array_equal(one["1.kernel"], same["1.kernel"])
    assert not np.array_equal(one["1.kernel"], other["1.kernel"])
    assert 0.6 < np.abs(one["1.kernel"]).max() <= np.sqrt(6 / (7 + 5))


@pytest.mark.parametrize(
    "spec", [[FLAT, FIXED, HIDDEN, SOFTMAX], [FLAT, NORMAL, DROPOUT, SOFTMAX], [FLAT, ONE]]
)
def test_it_predicts_what_the_head_does(spec: list[LayerSpec]) -> None:
    x = features(50, 2, 3)
    weights = random_weights(spec, x)
    logits = head_logits(spec, weights, x)
    found = Network(spec, weights, 0).predict(x)
    np.testing.assert_allclose(found, logits[:, -found.shape[1] :], atol=1e-4)


def test_inputs_share_one_grid_and_are_those_of_a_batch() -> None:
    x = features(3000, 400)
    x[0, 0] = 1e6
    network = Network([FIXED, SOFTMAX], first_weights([FIXED, SOFTMAX], x, 0), 0)
    found: Any = network.all_inputs(x)
    units = found.astype(np.float64) * 2.0 ** (21 - np.frexp(np.abs(found).max())[1])
    assert np.array_equal(units, np.rint(units))
    np.testing.assert_allclose(network.inputs(x[:32]), found[:32], atol=1e-4)

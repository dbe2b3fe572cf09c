from __future__ import annotations

import numpy as np
import pytest

from headstart.training import calibration
from headstart.training.acceptance import doubt_of
from headstart.training.calibration import calibrate
from headstart.training.head import apply_head, tempered
from headstart.training.scores import mean_loss


def too_sure(n: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities would be right if they were divided by ``factor``."""
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(n, 4)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(4, p=row) for row in chances])
    return logits * factor, labels


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_the_temperature_undoes_wrong_confidence(factor: float) -> None:
    logits, labels = too_sure(4000, factor)
    found = calibrate(logits, labels, "softmax")
    assert found.temperature == pytest.approx(factor, rel=0.07)
    assert found.loss == mean_loss(logits / found.temperature, labels, "softmax")
    assert found.loss <= mean_loss(logits, labels, "softmax") + 1e-4


def test_outputs_of_their_own_are_calibrated_by_their_own_loss() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(4000, 1)) * 2
    labels = (generator.random(4000) < 1 / (1 + np.exp(-logits[:, 0]))).astype(int)
    both = np.concatenate([-logits, logits], axis=1) * 3
    assert calibrate(both, labels, "sigmoid").temperature == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("right", [True, False])
def test_few_images_without_a_mistake_or_without_a_hit_move_it_little(*, right: bool) -> None:
    logits = np.eye(3) * 5
    labels = np.arange(3) if right else (np.arange(3) + 1) % 3
    found = calibrate(logits, labels, "softmax").temperature
    assert (0.3 < found < 1) if right else (1 < found < 8)


def test_with_a_doubt_images_without_a_mistake_do_not_make_a_model_sure() -> None:
    logits, labels = np.eye(3)[np.arange(40) % 3] * 5, np.arange(40) % 3
    assert calibrate(logits, labels, "softmax").temperature < 0.9
    assert calibrate(logits, labels, "softmax", doubt_of(40)).temperature > 1


def test_what_is_no_number_is_left_to_the_training_to_refuse() -> None:
    found = calibrate(np.array([[np.nan, 1.0]]), np.array([0]), "softmax")
    assert found.temperature == 1
    assert np.isnan(found.loss)


@pytest.mark.parametrize("units", [1, 3])
def test_a_tempered_head_is_an_ordinary_one_with_the_same_first_guesses(units: int) -> None:
    generator = np.random.default_rng(2)
    spec = [
        {"kind": "dense", "units": 5, "activation": "relu"},
        {"kind": "dense", "units": units, "activation": "sigmoid" if units == 1 else "softmax"},
    ]
    shapes = {"0.kernel": (4, 5), "0.bias": (5,), "1.kernel": (5, units), "1.bias": (units,)}
    weights = {
        name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    x = generator.normal(size=(50, 4))
    before, after = (apply_head(spec, w, x) for w in (weights, tempered(spec, weights, 2.0)))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    ratio = np.log(before[:, 0] / before[:, 1])
    np.testing.assert_allclose(np.log(after[:, 0] / after[:, 1]), ratio / 2, rtol=1e-4, atol=1e-5)
    assert (weights["0.kernel"] == tempered(spec, weights, 2.0)["0.kernel"]).all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("doubt", [0.0, 0.2])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.3, 5.0, 1e3, 1e6])
def test_what_the_search_skips_would_not_be_the_smallest(
    monkeypatch: pytest.MonkeyPatch, activation: str, doubt: float, scale: float
) -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 60)
    logits = scale * (generator.normal(size=(60, 3)) + 2 * np.eye(3)[labels])
    found = calibration.calibrate(logits, labels, activation, doubt)
    monkeypatch.setattr(calibration._Search, "_bound", lambda *_: -np.inf)
    assert calibration.calibrate(logits, labels, activation, doubt) == found

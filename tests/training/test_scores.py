from __future__ import annotations

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart.backbones.weights import Weights
from headstart.training import scores as training_scores
from headstart.training.head import LayerSpec, head_logits
from headstart.training.scores import check_trained, losses, mean_loss
from tests.training.models import record, weights


def test_losses_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss

    generator = np.random.default_rng(3)
    logits, labels = generator.normal(0, 2, (300, 4)), generator.integers(0, 4, 300)
    raised = np.exp(logits)
    softmax = raised / raised.sum(axis=1, keepdims=True)
    wanted = log_loss(labels, softmax, labels=range(4))
    assert mean_loss(logits, labels, "softmax") == pytest.approx(wanted, rel=1e-12)
    each = [
        log_loss(labels == i, 1 / (1 + np.exp(-logits[:, i])), labels=[False, True])
        for i in range(4)
    ]
    found = mean_loss(logits, labels, "sigmoid")
    assert found == pytest.approx(float(np.mean(each)), rel=1e-12)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_confident_mistake_has_a_finite_loss(activation: str) -> None:
    loss = mean_loss(np.array([[1e4, -1e4]]), np.array([1]), activation)
    assert loss in {2e4, 1e4}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_doubt_makes_confidence_cost_what_its_mistakes_would(activation: str) -> None:
    logits, labels = np.array([[8.0, -2.0, -4.0], [1.0, 0.0, 3.0]]), np.array([0, 1])
    seconds = np.array([1, 2])  # The most probable other classes.
    wanted = 0.9 * losses(logits, labels, activation) + 0.1 * losses(logits, seconds, activation)
    np.testing.assert_allclose(losses(logits, labels, activation, 0.1), wanted, rtol=1e-12)
    right = logits[:1]
    assert losses(right * 4, labels[:1], activation) < losses(right, labels[:1], activation)
    doubted = [losses(right * by, labels[:1], activation, 0.1) for by in (1, 4)]
    assert doubted[1] > doubted[0]


def test_the_last_bits_of_the_logits_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    labels, of = np.arange(40) % 3, record()
    found = training_scores.score(of, weights(of), features, labels)
    monkeypatch.setattr(training_scores, "head_logits", lambda *a: head_logits(*a) * (1 + 1e-14))
    assert training_scores.score(of, weights(of), features, labels) == found


def _head(scale: float, wrong: float = 0.0) -> tuple[list[LayerSpec], Weights]:
    layers: list[LayerSpec] = [{"kind": "dense", "units": 2, "activation": "softmax"}]
    kernel = scale * np.eye(2, dtype=np.float32) * (1 - 2 * wrong)
    return layers, {"0.kernel": kernel, "0.bias": np.zeros(2, np.float32)}


def test_exploded_weights_are_refused_although_every_image_is_right() -> None:
    features, labels = np.eye(2, dtype=np.float32), np.array([0, 1])
    check_trained(*_head(100.0), features, labels, 0.1, pytest.fail)
    with pytest.raises(HeadstartError, match=r"exploded: .* The learning rate 1e\+09 .* try 0.001"):
        check_trained(*_head(1e10), features, labels, 1e9)


def test_sure_mistakes_are_reported() -> None:
    said: list[str] = []
    features, labels = np.eye(2, dtype=np.float32), np.array([0, 1])
    check_trained(*_head(100.0, wrong=1.0), features, labels, 0.1, said.append)
    assert len(said) == 1
    assert "the validation loss 100 is above 0.6931" in said[0]

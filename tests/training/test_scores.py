from __future__ import annotations

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart.backbones.weights import Weights
from headstart.training import scores as training_scores
from headstart.training.head import LayerSpec, head_logits
from headstart.training.model_folder import Scores
from headstart.training.scores import check_trained, mean_loss
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


def test_the_last_bits_of_the_logits_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    labels, of = np.arange(40) % 3, record()
    found = training_scores.score(of, weights(of), features, labels)
    monkeypatch.setattr(training_scores, "head_logits", lambda *a: head_logits(*a) * (1 + 1e-14))
    assert training_scores.score(of, weights(of), features, labels) == found


def scores(accuracy: float, loss: float) -> Scores:
    return Scores(accuracy=accuracy, loss=loss)


@pytest.mark.parametrize(
    ("tuned", "head", "better"),
    [
        (scores(0.9, 2.0), scores(0.8, 0.1), True),
        (scores(0.8, 0.1), scores(0.9, 2.0), False),
        (scores(0.9, 0.1), scores(0.9, 0.2), True),
        (scores(0.9, 0.2), scores(0.9, 0.1), False),
        (scores(0.9, 0.2), scores(0.9, 0.2), False),
    ],
)
def test_the_better_model_is_kept_with_the_reason(
    tuned: Scores, head: Scores, better: bool
) -> None:
    assert training_scores.improves(tuned, head) is better
    text = training_scores.reason(tuned, head, 2, 5)
    assert ("did not improve" in text) is not better
    assert "epoch 2 of 5" in text


def test_the_reason_says_what_improved() -> None:
    accuracy = training_scores.reason(scores(0.9, 2.0), scores(0.8, 0.1), 2, 5)
    assert "improved the validation accuracy: accuracy 0.8000 -> 0.9000" in accuracy
    loss = training_scores.reason(scores(0.4706, 1.0), scores(0.4706, 1.2), 2, 5)
    assert "improved the validation loss only: loss 1.2000 -> 1.0000" in loss
    assert "accuracy 0.4706 as before" in loss


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

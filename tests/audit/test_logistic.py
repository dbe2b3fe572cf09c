"""Logistic regressions out of fold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from headstart.audit import logistic
from headstart.audit.labels import judge_labels
from headstart.audit.logistic import logistic_out_of_fold
from headstart.audit.moments import FOLDS, Indices, block_moments, deal
from headstart.audit.neighbors import neighbor_shares
from headstart.audit.vectors import SCALE, Float64, Whole, whole_numbers

KNOWN = 300


def cloud(n_classes: int = 3) -> tuple[Whole, Indices]:
    random = np.random.Generator(np.random.Philox(key=5))
    labels = np.arange(KNOWN + 40) % n_classes
    points = random.normal(size=(len(labels), 8)) + 3 * np.eye(8)[labels % 8]
    return whole_numbers([points.astype(np.float32)], 1), labels


def found(values: Whole, labels: Indices, n_classes: int = 3) -> tuple[Float64 | None, Indices]:
    labels = labels[:KNOWN]
    blocks = deal(np.arange(KNOWN) % n_classes, [str(row) for row in range(KNOWN)], 1)
    parts = block_moments(values, labels, blocks, n_classes)
    return logistic_out_of_fold(values, labels, blocks, parts, 1), blocks


def centered(logits: Float64 | None) -> Float64:
    assert logits is not None
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def test_the_logits_are_those_of_scikit_learn() -> None:
    values, labels = cloud()
    logits, blocks = found(values, labels)
    folds = np.append(blocks % FOLDS, np.full(40, FOLDS))
    features = values / SCALE
    wanted = np.empty((len(values), 3))
    for fold in range(FOLDS + 1):
        kept = np.flatnonzero(blocks % FOLDS != fold)
        model = LogisticRegression(C=1 / logistic._PENALTY, tol=1e-8, max_iter=500)
        model.fit(features[kept], labels[kept])
        wanted[folds == fold] = model.decision_function(features[folds == fold])
    assert np.allclose(centered(logits), centered(wanted), atol=2e-3)


def test_no_label_of_a_fold_or_of_the_test_images_counts_in_its_logits() -> None:
    values, labels = cloud()
    logits, blocks = found(values, labels)
    inside = np.append(blocks % FOLDS == 2, np.zeros(40, bool))
    changed = labels.copy()
    changed[inside] = (changed[inside] + 1) % 3
    changed[KNOWN:] = 0
    others, _ = found(values, changed)
    assert (centered(logits)[inside] == centered(others)[inside]).all()
    assert (centered(logits)[~inside] != centered(others)[~inside]).any(axis=1).all()


def test_the_bits_do_not_depend_on_threads_or_on_the_order_of_images() -> None:
    values, labels = cloud()
    logits, blocks = found(values, labels)
    order = np.random.Generator(np.random.Philox(key=1)).permutation(KNOWN)
    parts = block_moments(values, labels[:KNOWN], blocks, 3)
    with threadpool_limits(1, user_api="blas"):
        again = logistic_out_of_fold(values[order], labels[order], blocks[order], parts, 1)
    assert logits is not None
    assert again is not None
    assert (logits[order] == again).all()


def test_many_images_are_sampled_and_many_classes_left_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, labels = cloud()
    whole, _ = found(values, labels)
    monkeypatch.setattr(logistic, "_MOST", 150)
    some, _ = found(values, labels)
    assert (centered(whole) != centered(some)).any(axis=1).all()
    assert (centered(whole).argmax(axis=1) == centered(some).argmax(axis=1)).mean() > 0.8
    monkeypatch.setattr(logistic, "_MOST", 3 * logistic._LEAST_PER_CLASS - 1)
    assert found(values, labels)[0] is None


def test_the_discriminant_the_regression_and_the_neighbors_judge_a_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, labels = cloud()
    given = labels.copy()
    wrong = np.arange(0, KNOWN, 20)
    given[wrong] = (given[wrong] + 1) % 3
    blocks = deal(given[:KNOWN], [str(row) for row in range(KNOWN)], 1)
    parts = block_moments(values, given, blocks, 3)
    shares = neighbor_shares(values, np.arange(len(values)), given[:KNOWN], 3, 10, 1)
    judged = judge_labels(values, given, blocks, parts, shares, 1)
    assert len(judged.judge.weights) == 3
    first = np.argsort(-judged.doubts, kind="stable")[: len(wrong)]
    assert np.isin(first, wrong).mean() > 0.8
    assert judged.wrong[first].mean() > 0.7
    monkeypatch.setattr(logistic, "_MOST", 3)
    assert len(judge_labels(values, given, blocks, parts, shares, 1).judge.weights) == 2

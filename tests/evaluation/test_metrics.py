"""The measures agree with scikit-learn and SciPy, and have the properties that define them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from headstart.evaluation import confusion as counts
from headstart.evaluation import metrics as measures
from headstart.evaluation.calibration import calibration
from headstart.evaluation.metrics import Scored
from headstart.evaluation.parameters import GateParams
from headstart.evaluation.predictions import (
    Predictions,
    indices,
    read_predictions,
    write_predictions,
)
from headstart.training.head import activate
from tests.conftest import ROOT

Case = tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], npt.NDArray[np.int64]]


@pytest.fixture(scope="module", params=["softmax", "sigmoid"])
def case(request: pytest.FixtureRequest) -> Case:
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (500, 6))
    labels = generator.integers(0, 6, 500)
    labels[labels == 5] = 4  # A class without images.
    return logits, activate(request.param, logits), labels


@given(data=st.data(), n=st.integers(1, 10**7))
def test_wilson_contains_the_share_and_stays_a_share(data: st.DataObject, n: int) -> None:
    right = data.draw(st.integers(0, n))
    low, high = measures.wilson_interval(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert low < high
    mirrored = measures.wilson_interval(n - right, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (188, 200), (1, 3), (9902, 10000)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    from scipy.stats import binomtest

    found = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert measures.wilson_interval(right, n) == pytest.approx((found.low, found.high), abs=1e-12)


def test_wilson_holds_what_it_promises() -> None:
    # Coverage at a share near 1, where ± standard error covers far less.
    right = np.random.default_rng(1).binomial(200, 0.97, 4000)
    inside = [
        low <= 0.97 <= high for low, high in (measures.wilson_interval(int(r), 200) for r in right)
    ]
    assert 0.93 < np.mean(inside) < 0.98


def test_classes_are_measured_as_scikit_learn_does(case: Case) -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    _, probabilities, labels = case
    guesses = probabilities.argmax(axis=1)
    confusion = counts.confusion_matrix(labels, guesses, 6)
    assert np.array_equal(confusion, confusion_matrix(labels, guesses, labels=range(6)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = precision_recall_fscore_support(labels, guesses, labels=range(6), zero_division=0)
    found = counts.per_class(confusion)
    for got, want in zip((found.precision, found.recall, found.f1), wanted[:3], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    assert found.support.tolist() == wanted[3].tolist()
    assert found.support[5] == 0
    assert confusion.sum() == len(labels)


def test_auroc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(3)
    labels = generator.integers(0, 6, 500)
    probabilities = np.round(activate("softmax", generator.normal(0, 2, (500, 6))), 1)  # with ties
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float64)
    wanted = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert measures.macro_auroc(Scored(labels, probabilities)) == pytest.approx(wanted, rel=1e-6)


def test_classes_without_a_positive_do_not_count_in_auroc() -> None:
    labels = np.array([0, 0, 1, 1])  # and no image of class 2
    probabilities = np.array([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.5, 0.4, 0.1], [0.1, 0.9, 0.0]])
    assert measures.macro_auroc(Scored(labels, probabilities)) == (0.75 + 1.0) / 2
    alone = Scored(np.zeros(4, np.int64), probabilities)
    assert measures.macro_auroc(alone) is None
    assert "macro_auroc" not in measures.measure(alone, ["a", "b", "c"])


def test_top_k_is_scikit_learns_and_ends_at_all(case: Case) -> None:
    from sklearn.metrics import top_k_accuracy_score

    logits, probabilities, labels = case
    hits = [measures.top_k_hits(probabilities, labels, k) for k in range(1, 7)]
    for k, found in enumerate(hits[:5], start=1):
        wanted = top_k_accuracy_score(labels, logits, k=k, normalize=False, labels=range(6))
        assert found == wanted
    assert hits == sorted(hits)
    assert hits[0] == (probabilities.argmax(axis=1) == labels).sum()
    assert hits[5] == len(labels)


def test_of_equal_probabilities_the_first_counts_as_the_guess() -> None:
    equal = np.full((3, 3), 1 / 3, np.float32)
    labels = np.array([0, 1, 2])
    assert [measures.top_k_hits(equal, labels, k) for k in (1, 2, 3)] == [1, 2, 3]


def test_calibration_error_by_hand() -> None:
    # Two bins: (0, 0.5] and (0.5, 1]. 0.5 belongs to the first.
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], np.float64)
    found = calibration(probabilities, np.array([0, 0, 1, 1]), 2)
    assert found.count.tolist() == [1, 3]
    assert found.confidence == pytest.approx([0.5, 0.8])
    assert found.accuracy == pytest.approx([1.0, 2 / 3])
    assert found.error == pytest.approx((1 * 0.5 + 3 * (0.8 - 2 / 3)) / 4)


def test_a_calibrated_model_has_next_to_no_error() -> None:
    generator = np.random.default_rng(5)
    sure = generator.uniform(0.5, 1, 200_000)
    labels = (generator.uniform(size=len(sure)) > sure).astype(np.int64)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    assert calibration(probabilities, labels, 15).error < 0.005
    assert calibration(probabilities, 1 - labels, 15).error > 0.3


@settings(max_examples=50)
@given(n=st.integers(1, 50), k=st.integers(2, 5), bins=st.integers(2, 30), seed=st.integers(0, 99))
def test_calibration_counts_every_image_once(n: int, k: int, bins: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = activate("softmax", generator.normal(0, 3, (n, k)))
    found = calibration(probabilities, generator.integers(0, k, n), bins)
    assert found.count.sum() == n
    assert 0 <= found.error <= 1
    edges = np.arange(bins + 1) / bins
    for i in np.flatnonzero(found.count):
        assert edges[i] - 1e-9 <= found.confidence[i] <= edges[i + 1] + 1e-9


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), k=st.integers(2, 6), seed=st.integers(0, 99), scale=st.integers(0, 40))
def test_metrics_of_predictions_are_those_of_their_file(
    n: int, k: int, seed: int, scale: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    generator = np.random.default_rng(seed)
    classes = [f"class {i}" for i in range(k)]
    labels = [classes[i] for i in generator.integers(0, k, n)]
    images = pd.DataFrame({"image_id": map(str, range(n)), "path": map(str, range(n))})
    head, model = (activate("softmax", generator.normal(0, scale, (n, k))) for _ in range(2))
    made = Predictions.record(images.assign(label=labels), classes, head, model)
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    write_predictions(path, made)
    found = read_predictions(path, classes)
    assert np.array_equal(found.head, made.head)
    assert np.array_equal(found.model, made.model)
    pd.testing.assert_frame_equal(found.rows, made.rows)
    for activation in ("softmax", "sigmoid"):
        measured = [
            measures.measure(
                Scored(indices(each.rows["label"], classes), each.model, activation, 2), classes
            )
            for each in (made, found)
        ]
        assert measured[0] == measured[1]
    guesses = [classes[i] for i in found.model.argmax(axis=1)]
    assert guesses == list(found.rows["predicted"])


def test_the_last_bits_of_a_probability_change_no_metric() -> None:
    """Two CPUs whose matrix products differ in the last bits record the same."""
    generator = np.random.default_rng(7)
    exact = activate("softmax", generator.normal(0, 3, (200, 5))).astype(np.float64)
    other = exact * (1 + generator.uniform(-1e-15, 1e-15, exact.shape))
    assert (exact != other).any()
    images = pd.DataFrame({"image_id": map(str, range(200)), "path": "", "label": "a"})
    one, two = (Predictions.record(images, "abcde", each, each).model for each in (exact, other))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_are_those_of_scikit_learn(activation: str) -> None:
    from sklearn.metrics import log_loss

    generator = np.random.default_rng(3)
    logits, labels = generator.normal(0, 2, (300, 4)), generator.integers(0, 4, 300)
    probabilities = activate(activation, logits).astype(np.float64)
    if activation == "softmax":
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        wanted = log_loss(labels, probabilities, labels=range(4))
    else:
        each = [log_loss(labels == i, probabilities[:, i], labels=[False, True]) for i in range(4)]
        wanted = float(np.mean(each))
    found = measures.cross_entropy(Scored(labels, probabilities, activation))
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_confident_mistake_has_a_finite_loss(activation: str) -> None:
    scored = Scored(np.array([1]), np.array([[1.0, 0.0]]), activation)
    assert measures.cross_entropy(scored) == pytest.approx(-math.log(1e-7), rel=1e-6)


def test_the_table_names_each_metric_once_and_its_bounds() -> None:
    keys = [metric.key for metric in measures.METRICS]
    assert len(set(keys)) == len(keys)
    bounds = {metric.bound for metric in measures.METRICS if metric.gate}
    assert bounds <= set(GateParams.model_fields)
    assert {"min_accuracy", "max_loss"} <= bounds
    document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert bounds <= set(document["gate"])


def test_sigmoids_that_are_all_zero_are_not_a_success() -> None:
    """102 sigmoids that are all negative are correct in 99 % of their outputs, and useless."""
    labels = np.arange(102)
    logits = np.full((102, 102), -4.6)
    probabilities = activate("sigmoid", logits)
    assert measures.binary_accuracy(probabilities, labels) == pytest.approx(101 / 102)
    assert measures.top_k_hits(probabilities, labels, 1) == 1
    scored = Scored(labels, probabilities.astype(np.float64), "sigmoid")
    assert math.isclose(measures.cross_entropy(scored), 0.05509, abs_tol=1e-3)

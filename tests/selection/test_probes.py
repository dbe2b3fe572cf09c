"""The probes, on features whose classes are known to be apart, or not."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.selection import probes


def made(
    n: int, classes: int, apart: float, seed: int = 0, width: int = 24
) -> tuple[probes.Floats, probes.Ints]:
    """Normal features, with class means at a distance, on odd scales and offsets."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    means = np.random.Generator(np.random.Philox(key=99)).normal(size=(classes, width)) * apart
    labels = np.arange(n) % classes
    features = generator.normal(size=(n, width)) + means[labels]
    scales = 10.0 ** np.linspace(-1, 1, width)
    return (features * scales + 3).astype(np.float32), labels.astype(np.int64)


def keys(n: int) -> list[str]:
    return [f"{number:064x}" for number in range(n)]


@pytest.mark.parametrize("classes", [2, 5])
def test_classes_that_are_apart_are_told_apart(classes: int) -> None:
    x, y = made(200, classes, 1.0)
    asked, labels = made(100, classes, 1.0, seed=1)
    linear = probes.fit_linear(x, y, keys(200), seed=1)
    assert (linear.predict(asked) == labels).mean() > 0.95
    unit = (10.0 ** np.linspace(-1, 1, 24)).astype(np.float32)
    near = probes.nearest((x - 3) / unit, y, (asked - 3) / unit, classes)
    assert (near == labels).mean() > 0.9


def test_noise_is_chance_under_strong_regularization() -> None:
    x, y = made(400, 2, 0.0)
    asked, labels = made(2000, 2, 0.0, seed=1)
    linear = probes.fit_linear(x, y, keys(400), seed=1)
    assert linear.strength <= 1e-3
    assert 0.4 < (linear.predict(asked) == labels).mean() < 0.6


def test_it_is_no_worse_than_the_best_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    x, y = made(300, 4, 0.35)
    asked, labels = made(1000, 4, 0.35, seed=1)
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegressionCV(
        Cs=7,
        cv=5,
        max_iter=500,
        l1_ratios=(0,),
        use_legacy_attributes=False,
        scoring="neg_log_loss",
    ).fit(scaler.transform(x), y)
    ours = (probes.fit_linear(x, y, keys(300), seed=1).predict(asked) == labels).mean()
    assert ours > (theirs.predict(scaler.transform(asked)) == labels).mean() - 0.02


def test_a_known_strength_gives_the_same_classifier() -> None:
    x, y = made(120, 3, 0.3)
    first = probes.fit_linear(x, y, keys(120), seed=1)
    again = probes.fit_linear(x, y, keys(120), seed=1, strength=first.strength)
    np.testing.assert_array_equal(first.model.coef_, again.model.coef_)


def test_features_that_never_vary_do_no_harm() -> None:
    x, y = made(60, 2, 1.0)
    x[:, 3], x[:, 4] = 0, 7
    linear = probes.fit_linear(x, y, keys(60), seed=1)
    assert np.isfinite(linear.model.coef_).all()
    assert (linear.predict(x) == y).mean() > 0.95


def test_few_images_and_a_class_with_one_are_enough() -> None:
    x, y = made(7, 2, 3.0)
    y[:] = [0, 0, 0, 1, 1, 1, 2]
    linear = probes.fit_linear(x, y, keys(7), seed=1)
    assert set(linear.predict(x)) <= {0, 1, 2}
    assert set(probes.nearest(x, y, x, 3)) <= {0, 1, 2}


def test_a_split_group_is_held_together() -> None:
    y = np.zeros(100, np.int64)
    names = [f"group {number // 10}" for number in range(100)]
    held = probes._held(y, names, seed=3)
    assert held.sum() == 20
    assert {int(count) for count in held.reshape(10, 10).sum(axis=1)} == {0, 10}


def test_neighbors_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(150, 3, 0.3)
    asked, _ = made(40, 3, 0.3, seed=1)
    whole = probes.nearest(x, y, asked, 3)
    monkeypatch.setattr(probes, "_AT_ONCE", 1000)
    np.testing.assert_array_equal(probes.nearest(x, y, asked, 3), whole)

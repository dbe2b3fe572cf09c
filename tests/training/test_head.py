from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart._utils.errors import HeadstartError
from headstart.training.head import activate, apply_head, check_spec, weight_shapes

DENSE: dict[str, Any] = {"kind": "dense", "units": 3, "activation": "softmax"}
LOGITS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(-1e6, 1e6),
)


def weights(spec: list[dict[str, Any]], shape: tuple[int, ...]) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {
        name: generator.uniform(0.1, 1, size).astype(np.float32)
        for name, size in weight_shapes(spec, shape).items()
    }


@given(LOGITS)
def test_softmax_gives_probabilities_whatever_the_logits(x: npt.NDArray[np.float64]) -> None:
    found = activate("softmax", x)
    assert found.dtype == np.float32
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


@given(LOGITS)
def test_sigmoid_is_symmetric_and_never_overflows(x: npt.NDArray[np.float64]) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = activate("sigmoid", x)
    assert np.allclose(found + activate("sigmoid", -x), 1, atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbors() -> None:
    spec = [{"kind": "batch_normalization", "epsilon": 1e-3}, DENSE]
    features = np.random.default_rng(2).normal(size=(2500, 40)).astype(np.float32)
    found = apply_head(spec, weights(spec, (40,)), features)
    one = apply_head(spec, weights(spec, (40,)), features[2400:2401])
    assert np.array_equal(found[2400:2401], one)


def test_half_precision_features_are_read() -> None:
    features = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float16)
    found = apply_head([DENSE], weights([DENSE], (4,)), features)
    wide = apply_head([DENSE], weights([DENSE], (4,)), features.astype(np.float32))
    assert np.array_equal(found, wide)


def test_weights_of_another_head_are_refused_by_name() -> None:
    given_weights = weights([DENSE], (4,))
    with pytest.raises(HeadstartError, match=r"0\.kernel is \(4, 3\), not \(5, 3\)"):
        apply_head([DENSE], given_weights, np.zeros((2, 5), np.float32))


def test_a_map_needs_flatten() -> None:
    with pytest.raises(HeadstartError, match="need a flatten layer"):
        apply_head([DENSE], {}, np.zeros((2, 4, 4, 8), np.float32))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ([], "at least 1"),
        ([{"kind": "dense", "units": 3, "activation": "relu"}], "softmax or sigmoid"),
        ([DENSE, DENSE], "only the last"),
        ([{"kind": "dropout", "rate": 0.1}, {"kind": "flatten"}, DENSE], "only the first"),
        ([{"kind": "dropout", "rate": 1.0}, DENSE], "0.dropout.rate"),
        ([{"kind": "dropout"}, DENSE], "0.dropout.rate"),
        ([{"kind": "conv"}, DENSE], "0"),
        ([{**DENSE, "units": 0}], "units"),
        ([{**DENSE, "extra": 0}], "extra"),
    ],
)
def test_what_is_no_head_is_refused(spec: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_spec(spec)

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.exact import exp, log, log1p, on_grid, product

ROOT = Path(__file__).resolve().parent.parent


@given(
    inner=st.integers(1, 5000), seed=st.integers(0, 2**32), scale=st.sampled_from([1e-30, 1, 1e12])
)
def test_no_order_of_the_sum_changes_a_bit(inner: int, seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    a = on_grid(generator.normal(size=(3, inner)) * scale)
    b = on_grid(generator.standard_cauchy(size=(inner, 2)).astype(np.float32))
    found = product(a, b)
    blocks = [slice(start, start + 2048) for start in range(0, inner, 2048)]
    shuffled = [generator.permutation(np.arange(inner)[block]) for block in blocks]
    again = sum(np.add.reduce(a[:, rows, None] * b[rows], axis=1) for rows in shuffled)
    assert found.tobytes() == np.asarray(again).tobytes()


@given(seed=st.integers(0, 2**32), inner=st.sampled_from([1, 7, 3000]))
def test_a_product_is_right_to_six_digits(seed: int, inner: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(4, inner)), generator.normal(size=(inner, 5))
    most = np.abs(a).max() * np.abs(b).max() * inner
    np.testing.assert_allclose(product(on_grid(a), on_grid(b)), a @ b, rtol=0, atol=1e-6 * most)


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-45, 1e-300, 1.0, 1e300])
def test_any_size_has_a_grid(value: float) -> None:
    found = on_grid(np.array([value, -value / 3]))
    np.testing.assert_allclose(found[0], value, rtol=2**-20, atol=1e-270)
    assert np.array_equal(on_grid(found), found)


def test_a_shared_grid_is_that_of_the_largest() -> None:
    small = on_grid(np.array([1.0 / 3]), largest=1000.0)
    assert small[0] == round(1.0 / 3 * 2**11) / 2**11


def test_the_exponential_is_right_to_the_last_bits() -> None:
    small = 10.0 ** np.arange(-18, 3.0)
    x = np.concatenate([np.linspace(-745, 709, 8001), small, -small, [-np.inf, np.inf]])
    wanted = np.array([math.exp(min(max(value, -700.0), 700.0)) for value in x])
    np.testing.assert_allclose(exp(x), wanted, rtol=4e-16)
    assert exp(0.0) == 1.0
    assert np.isnan(exp(np.array([np.nan]))).all()


def test_the_logarithm_is_right_to_the_last_bits() -> None:
    x = np.concatenate([np.linspace(0.5, 2, 8001), 10.0 ** np.arange(-307, 308.0), [5e-324]])
    wanted = np.array([math.log(value) for value in x])
    np.testing.assert_allclose(log(x), wanted, rtol=7e-16)
    assert log(1.0) == 0.0


def test_the_logarithm_of_nearly_one_keeps_its_digits() -> None:
    small = 10.0 ** np.arange(-320, 0.0)
    x = np.concatenate([small, -small, np.linspace(-0.999, 5, 4001)])
    wanted = np.array([math.log1p(value) for value in x])
    np.testing.assert_allclose(log1p(x), wanted, rtol=7e-16, atol=1e-323)


def test_no_instructions_of_the_processor_change_a_bit() -> None:
    script = (
        "import numpy as np\n"
        "from headstart.exact import exp, log, log1p\n"
        "x = np.random.default_rng(5).exponential(3, 20_001)\n"
        "print(*(f(x).tobytes().hex() for f in (exp, log, log1p)))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            cwd=ROOT, env={**os.environ, "NPY_DISABLE_CPU_FEATURES": without},
            capture_output=True, text=True, check=True,
        ).stdout
        for without in ("", "X86_V4", "X86_V3 X86_V4")
    }  # fmt: skip
    assert len(found) == 1

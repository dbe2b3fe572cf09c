from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pretraining import teacher
from pretraining.settings import TeacherParams


def test_axes_are_uncorrelated_and_half_whitened() -> None:
    generator = np.random.Generator(np.random.Philox(key=1))
    deviations = np.array([9.0, 4.0, 1.0, 0.25])
    turn = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    features = ((generator.normal(size=(20000, 4)) * deviations) @ turn + 5).astype(np.float32)
    mean, axes = teacher.principal(features, 3)
    assert mean == pytest.approx(features.mean(axis=0), abs=1e-3)
    assert axes.shape == (4, 3)
    found = (features - mean) @ axes
    assert np.cov(found.T) == pytest.approx(np.diag(deviations[:3]), abs=0.2)


class _Brightness:
    """A network with a map of 2 × 2 and 3 channels: the means of each quarter."""

    def __init__(self, source: bytes) -> None:
        assert source == b"network"

    def __call__(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        half = batch.shape[1] // 2
        quarters = batch.reshape(len(batch), 2, half, 2, half, 3)
        means: npt.NDArray[np.float32] = quarters.mean(axis=(2, 4), dtype=np.float32)
        return means


def test_every_image_gets_its_map_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "LiteRTFunction", _Brightness)
    params = TeacherParams(
        name="x", alpha=1.0, weights="random", image_size=64, components=2, fitted_on=50
    )
    generator = np.random.Generator(np.random.Philox(key=2))
    images: Any = generator.integers(0, 256, (150, 32, 32, 3), np.uint8)
    for workers in (1, 3):
        teacher.write_targets(tmp_path / f"{workers}.npy", images, b"network", params, workers)
    found = np.load(tmp_path / "1.npy", allow_pickle=False)
    assert found.shape == (150, 2, 2, 2)
    assert found.dtype == np.float16
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "3.npy").read_bytes()

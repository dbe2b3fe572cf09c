"""Which engine runs a backbone, and where its images are decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart._utils.machine import cores
from headstart.keras.networks import engine as module
from tests.training.models import backbone


@pytest.mark.parametrize(
    ("device", "batch", "decoders"), [("cpu", 1, 0), ("gpu NVIDIA H200", 32, cores())]
)
def test_a_gpu_gets_batches_that_processes_decode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, batch: int, decoders: int
) -> None:
    monkeypatch.setattr(module, "keras_device", lambda: device)
    found = module.engine(tmp_path, backbone(engine="keras", tflite_sha256=None))
    assert (found.device, found.batch, found.count) == (device, batch, 1)
    assert found.decoders == decoders

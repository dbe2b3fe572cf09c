"""A head of one output leaves the project with both probabilities, in every export format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.backbones.litert import LiteRTFunction
from headstart.export.formats import FORMATS, FormatName
from headstart.keras.export.export import write
from headstart.keras.export.keras_file import load_keras, run_keras
from headstart.keras.export.reload import Source
from headstart.keras.export.saved_model import load_saved_model, run_pixels
from headstart.keras.runtime import configure, fresh_names, keras
from headstart.keras.training.head import build_head
from tests.keras.export.networks import SIZE, classifier, expected, images

ONE = [{"kind": "dense", "units": 1, "activation": "sigmoid"}]


@pytest.fixture(scope="module")
def source() -> Source:
    """The small network with Dense(1) in place of its answers."""
    configure(2)
    base = classifier()
    features = keras.Model(base.input, base.layers[-3].output)
    width = features.output_shape[-1]
    with fresh_names():
        head = build_head(ONE, (width,), seed=3)
        model = keras.Model(base.input, head(features.output), name="classifier")
    assert model.output_shape == (None, 2)
    assert model.input_shape == (None, SIZE, SIZE, 3)
    return Source(model, ("cat", "dog"), images(60))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("saved_model", 1e-6), ("keras", 1e-6), ("h5", 1e-6),
        ("tflite_float32", 1e-5), ("tflite_float16", 1e-2), ("tflite_int8", 0.15), ("onnx", 1e-5),
    ],
)  # fmt: skip
def test_both_probabilities_leave(
    name: FormatName, limit: float, source: Source, tmp_path: Path
) -> None:
    if name == "onnx":
        pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    batch = images(40)
    wanted = expected(source.model, batch)
    assert np.ptp(wanted[:, 1]) > 0.05
    write(name, source, tmp_path)
    path = tmp_path / FORMATS[name].path
    if name == "saved_model":
        found = run_pixels(load_saved_model(path), batch)
    elif name in {"keras", "h5"}:
        found = run_keras(load_keras(path), batch)
    elif name == "onnx":
        session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        found = session.run(None, {"pixels": batch})[0]
    else:
        found = LiteRTFunction(path)(batch)
    assert found.shape == (40, 2)
    assert np.abs(found - wanted).max() <= limit
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=0.01)

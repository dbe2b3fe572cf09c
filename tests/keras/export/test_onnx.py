from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.keras.runtime import configure, keras
from tests.keras.export.networks import classifier, expected, images, written
from tests.stages.small_run import ROOT

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("tf2onnx", reason="the extra `onnx` is not installed")


@pytest.mark.parametrize("maximum", [False, True])
def test_onnx_runtime_says_what_keras_says_with_its_own_settings(maximum: bool) -> None:
    from headstart.keras.export.onnx import write

    configure(2)
    model, batch = classifier(maximum=maximum), images(40)
    content = written(write, model)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [(each.name, each.type) for each in session.get_inputs()] == [
        ("pixels", "tensor(uint8)")
    ]
    assert [each.name for each in session.get_outputs()] == ["probabilities"]
    for part in (batch, batch[:1]):
        found = session.run(None, {"pixels": part})[0]
        assert np.abs(found - expected(model, part)).max() <= 1e-5


def test_a_gelu_is_expressed_by_what_onnx_has() -> None:
    from headstart.keras.export.onnx import write

    configure(2)
    entry = keras.Input((8, 8, 3))
    bent = keras.layers.Activation("gelu")(keras.layers.Rescaling(1 / 32, offset=-4.0)(entry))
    batch = np.arange(0, 256, dtype=np.uint8).repeat(3)[: 4 * 192].reshape(4, 8, 8, 3)
    model = keras.Model(entry, keras.layers.Flatten()(bent))
    content = written(write, model)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": batch})[0]
    assert np.abs(found - expected(model, batch)).max() <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "ResNet50V2", "DenseNet121"])
def test_bases_that_are_hard_to_express_come_out_right(name: str) -> None:
    from headstart.keras.export.onnx import write

    configure(2)
    entry = keras.Input((64, 64, 3))
    base = getattr(keras.applications, name)(weights=None, include_top=False, pooling="avg")
    model = keras.Model(entry, base(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(entry)))
    generator = np.random.Generator(np.random.Philox(key=9))
    for weight in base.weights:  # Those that Keras starts from hide what padding does.
        if "moving_variance" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif "moving_mean" in weight.path or "beta" in weight.path:
            weight.assign(generator.normal(0, 0.3, weight.shape))
    batch = generator.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(
        written(write, model), providers=["CPUExecutionProvider"]
    )
    wanted = expected(model, batch)
    assert np.abs(session.run(None, {"pixels": batch})[0] - wanted).max() <= 1e-4 * wanted.std()


WRITE = """
import sys
from headstart.keras.runtime import configure
from tests.keras.export.networks import classifier, written
from headstart.keras.export.onnx import write
configure(2)
for _ in range(int(sys.argv[2])):  # What a process did before leaves no trace.
    written(write, classifier("sigmoid"))
open(sys.argv[1], "wb").write(written(write, classifier()))
"""


@pytest.mark.slow
def test_the_bytes_depend_on_the_model_alone(tmp_path: Path) -> None:
    contents = []
    for before in (0, 1):
        path = tmp_path / f"{before}.onnx"
        done = subprocess.run(
            [sys.executable, "-c", WRITE, str(path), str(before)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert b"/work" not in contents[0]
    names = [node.name for node in onnx.load_from_string(contents[0]).graph.node]
    assert len(set(names)) == len(names)

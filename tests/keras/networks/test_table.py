"""Every backbone of the table goes through conversion, fine-tuning and export, with random weights.

Random weights show what the layers need; scores need real ones. The images are small: the layers
are the same at every size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.record import WEIGHTS, BackboneRecord
from headstart.backbones.registry import BACKBONES
from headstart.export.formats import FORMATS
from headstart.keras.export.classifier import classifier
from headstart.keras.export.reload import Source, resolve
from headstart.keras.networks.backbone import feature_model
from headstart.keras.networks.conversion import (
    ROUNDINGS,
    TOLERANCE,
    images,
    rounding,
    run_keras,
    to_tflite,
)
from headstart.keras.networks.pretrained import obtain
from headstart.keras.training.head import build_head, dump_head
from headstart.keras.training.tuner import Tuner
from headstart.training.batches import BatchSource
from headstart.training.head import apply_head
from tests.keras.networks.compared import compare
from tests.keras.training.test_tuner import params
from tests.training import models

SIZE = 96  # InceptionV3 and InceptionResNetV2 take no smaller ones than 75.
#: The others take up to minutes each, and gigabytes.
QUICK = ("mobilenet_v3_small",)
HEAD = [{"kind": "dense", "units": 3, "activation": "softmax"}]
NAMES = [
    pytest.param(
        name,
        marks=[pytest.mark.pipeline]
        if name in QUICK
        else [pytest.mark.slow, pytest.mark.timeout(1800)],
    )
    for name, spec in BACKBONES.items()
    if spec.family == "keras.applications"
]


def awaken(backbone: Any) -> None:
    """Give ConvNeXt's blocks a weight as training does: Keras starts them at a millionth."""
    generator = np.random.default_rng(0)
    for layer in backbone.layers:
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(generator.uniform(0.2, 0.6, layer.gamma.shape).astype(np.float32))


def accepted(backbone: Any, preprocessing: str) -> float:
    """Return the tolerance, or what rounding does to this network, if that is more."""
    model = feature_model(backbone, None, "avg", preprocessing, dtype="float32")
    batch = images(SIZE)
    return max(TOLERANCE, ROUNDINGS * rounding(model, batch, run_keras(model, batch)))


def check_tuning(
    record: BackboneRecord, folder: Path, weights: dict[str, Any], atol: float
) -> None:
    """Train the last block for an epoch; both parts convert to what Keras computes."""
    tuner = Tuner(record, folder, params(batch_size=4), HEAD, weights, seed=3)
    assert tuner.cut.after is not None
    lower = LiteRTFunction(tuner.lower_network() or b"")
    inputs = lower(images(SIZE)[::4])
    source = BatchSource.of_array(inputs, np.arange(len(inputs)) % 3)
    history = tuner.fit(source, source, seed=5)
    assert np.isfinite(history.epochs.to_numpy()).all()
    found = apply_head(HEAD, tuner.head_weights(), LiteRTFunction(tuner.upper_network())(inputs))
    np.testing.assert_allclose(found, tuner.probabilities(inputs), atol=atol)


def check_export(
    record: BackboneRecord, folder: Path, weights: dict[str, Any], atol: float
) -> None:
    """Write each format, load it without this project's code, and compare the probabilities."""
    model = classifier(record, folder, None, HEAD, weights)
    pixels = images(SIZE)[::4]
    expected = np.asarray(model(pixels.astype(np.float32), training=False))
    for name in ("saved_model", "keras", "tflite_float32"):
        each = FORMATS[name]
        resolve(each.writer)(Source(model, ("a", "b", "c")), folder / each.path)
        found = resolve(each.reader)(folder / each.path, pixels, []).outputs["pixels"]
        np.testing.assert_allclose(found, expected, atol=atol, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_it_converts_is_tuned_and_exported(name: str, tmp_path: Path) -> None:
    spec = BACKBONES[name]
    backbone = obtain(name, 1.0, SIZE, "random", 42).backbone
    awaken(backbone)
    model = feature_model(backbone, None, "avg", spec.preprocessing)
    assert model.output_shape == (None, spec.width)
    difference = compare(model, LiteRTFunction(to_tflite(model)), images(SIZE))
    limit = accepted(backbone, spec.preprocessing)
    print(f"{name}: differs by {difference:.1e} standard deviations, accepted are {limit:.1e}")
    assert difference <= limit
    backbone.save_weights(str(tmp_path / WEIGHTS))
    record = models.backbone(
        name=name, alpha=1.0, image_size=SIZE, preprocessing=spec.preprocessing,
        feature_shape=(spec.width,), tflite_sha256=None, parity=None,
    )  # fmt: skip
    head = dump_head(build_head(HEAD, record.feature_shape, seed=3))
    check_tuning(record, tmp_path, head, limit)
    check_export(record, tmp_path, head, limit)

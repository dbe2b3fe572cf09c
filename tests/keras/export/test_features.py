"""Features of exported Keras files, held against the network that they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.keras.export.classifier import cut, load_features
from headstart.keras.export.keras_file import load_keras, write_h5, write_keras
from headstart.keras.export.reload import Source
from headstart.keras.networks.backbone import cut_at, feature_model, preprocess
from headstart.keras.networks.conversion import difference_in_std, images, run_keras
from headstart.keras.runtime import keras
from headstart.keras.training.head import build_head

PIXELS = images(16)
HEAD: tuple[dict[str, Any], ...] = (
    {"kind": "dense", "units": 5, "activation": "relu"},
    {"kind": "dropout", "rate": 0.5},
    {"kind": "dense", "units": 3, "activation": "softmax"},
)


def made(kind: str, pooling: str) -> tuple[Any, Any, Any]:
    """A small backbone, its feature model and a classifier on it, as the export builds it."""
    keras.utils.set_random_seed(3)
    x = entry = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, name="low")(x)
    x = keras.layers.BatchNormalization(name="low_bn")(x)
    x = keras.layers.ReLU(name="low_relu")(x)
    base = keras.Model(entry, keras.layers.Conv2D(6, 3, name="high")(x), name="base")
    features = feature_model(base, None, pooling, kind, dtype="float32")
    spec = HEAD if pooling != "none" else ({"kind": "flatten"}, *HEAD)
    top = build_head(spec, features.output_shape[1:], seed=1)
    return base, features, keras.Model(features.input, top(features.output), name="classifier")


@pytest.mark.parametrize(
    ("kind", "pooling", "form"),
    [
        ("tf", "avg", "keras"),
        ("tf", "none", "h5"),
        ("torch", "avg", "h5"),
        ("caffe", "max", "keras"),
        ("caffe", "avg", "h5"),
        ("none", "none", "keras"),  # Nothing at all stands before the backbone.
    ],
)
def test_what_the_head_reads(tmp_path: Path, kind: str, pooling: str, form: str) -> None:
    _, features, classifier = made(kind, pooling)
    path = tmp_path / f"model.{form}"
    (write_keras if form == "keras" else write_h5)(Source(classifier), path)
    function = load_features(path, None, batch=6)
    assert function.shape == features.output_shape[1:]
    expected = run_keras(features, PIXELS.astype(np.float32))
    found = np.concatenate([function(PIXELS[start : start + 6]) for start in range(0, 16, 6)])
    assert difference_in_std(expected, found) < 1e-4
    # Fewer images than a batch are padded: the same bits.
    assert np.array_equal(function(PIXELS[6:8]), found[6:8])


def test_a_layer_of_the_base_of_the_head_or_between(tmp_path: Path) -> None:
    base, features, classifier = made("tf", "avg")
    write_keras(Source(classifier), tmp_path / "model.keras")
    model = load_keras(tmp_path / "model.keras")
    batch = PIXELS.astype(np.float32)
    scaled = np.asarray(preprocess(batch, "tf"))
    expected = {
        "preprocessing": scaled,
        "low_relu": run_keras(cut_at(base, "low_relu"), scaled),
        "pooling": run_keras(features, batch),
        "probabilities": run_keras(classifier, batch),
    }
    for layer, values in expected.items():
        found = run_keras(cut(model, layer), batch)
        assert found.shape == values.shape
        assert difference_in_std(values, found) < 1e-4, layer
    hidden = run_keras(cut(model, "head_0_dense"), batch)
    assert hidden.shape == (16, 5)
    assert hidden.min() == 0
    assert hidden.max() > 0


def test_no_such_layer() -> None:
    classifier = made("tf", "avg")[2]
    with pytest.raises(ParameterError, match=r"'low_rel'.*nearest names: low_relu"):
        cut(classifier, "low_rel")
    entry = keras.Input((4,))
    other = keras.Model(entry, keras.layers.Dense(2, name="last")(entry))
    with pytest.raises(HeadstartError, match=r"no layer 'head'.*ends in: last"):
        cut(other)

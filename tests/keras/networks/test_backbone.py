"""Building, cutting and preprocessing, held against Keras' own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.registry import BACKBONES
from headstart.keras.export.keras_file import load_keras, write_h5, write_keras
from headstart.keras.export.reload import Source
from headstart.keras.networks.backbone import (
    build_backbone,
    cut_at,
    feature_model,
    load_weights,
    pool,
    preprocess,
)
from headstart.keras.networks.conversion import images, run_keras
from headstart.keras.networks.pretrained import draw
from headstart.keras.runtime import keras


@pytest.mark.parametrize(
    ("name", "alpha", "size", "parameters", "shape"),
    [
        ("vgg16", 1.0, 150, 14_714_688, (4, 4, 512)),
        ("mobilenet_v2", 1.0, 224, 2_257_984, (7, 7, 1280)),
        ("mobilenet", 1.0, 128, 3_228_864, (4, 4, 1024)),
        ("mobilenet_v2", 0.35, 64, 410_208, (2, 2, 1280)),
    ],
)
def test_known_sizes(
    name: str, alpha: float, size: int, parameters: int, shape: tuple[int, ...]
) -> None:
    backbone = build_backbone(name, alpha, size)
    assert backbone.count_params() == parameters
    assert backbone.output_shape == (None, *shape)


#: Channels of the last layer that differ from those at alpha 1.
WIDTHS = {
    ("mobilenet", 0.25): 256,
    ("mobilenet", 0.5): 512,
    ("mobilenet", 0.75): 768,
    ("mobilenet_v2", 1.3): 1664,
    ("mobilenet_v2", 1.4): 1792,
    ("mobilenet_v3_large", 0.75): 720,
    ("mobilenet_v3_small", 0.75): 432,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_row_builds(name: str) -> None:
    spec = BACKBONES[name]
    for alpha in spec.alphas:
        backbone = build_backbone(name, alpha, spec.minimum_size)
        assert backbone.output_shape[-1] == WIDTHS.get((name, alpha), spec.width)
    if spec.minimum_size > 32:
        with pytest.raises(ValueError, match="at least"):
            build_backbone(name, 1.0, spec.minimum_size - 1)


def test_layer_names_do_not_depend_on_what_was_built_before() -> None:
    first = [layer.name for layer in build_backbone("inception_v3", 1.0, 75).layers]
    second = [layer.name for layer in build_backbone("inception_v3", 1.0, 75).layers]
    assert first == second
    assert "conv2d" in first


@pytest.mark.parametrize(
    "name", [name for name, spec in BACKBONES.items() if spec.family == "keras.applications"]
)
def test_preprocessing_is_that_of_keras(name: str) -> None:
    spec = BACKBONES[name]
    module = sys.modules[getattr(keras.applications, spec.function).__module__]
    batch = images(32)
    expected = module.preprocess_input(batch.astype(np.float32))
    for dtype in ("uint8", "float32"):
        pixels = keras.Input(shape=(32, 32, 3), dtype=dtype)
        model = keras.Model(pixels, preprocess(pixels, spec.preprocessing))
        got = np.asarray(model(batch.astype(dtype)))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["tf", "caffe", "torch", "unit", "none"])
def test_preprocessing_survives_every_file_of_keras(kind: str, tmp_path: Path) -> None:
    pixels = keras.Input(shape=(32, 32, 3))
    values = keras.layers.GlobalMaxPooling2D()(preprocess(pixels, kind))
    model = keras.Model(pixels, values)
    batch = images(32)
    for write, name in ((write_keras, "model.keras"), (write_h5, "model.h5")):
        write(Source(model), tmp_path / name)
        np.testing.assert_array_equal(load_keras(tmp_path / name)(batch), model(batch))


@pytest.fixture(scope="module")
def backbone() -> Any:
    built = build_backbone("mobilenet_v2", 0.35, 64)
    draw(built, 1)
    return built


def test_feature_model_is_base_and_pooling(backbone: Any) -> None:
    batch = images(64)[:4]
    maps = run_keras(backbone, keras.applications.mobilenet_v2.preprocess_input(batch.astype("f4")))
    for pooling, expected in (
        ("avg", maps.mean(axis=(1, 2))),
        ("max", maps.max(axis=(1, 2))),
        ("none", maps),
    ):
        got = run_keras(feature_model(backbone, None, pooling, "tf"), batch)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_cut(backbone: Any) -> None:
    lower = cut_at(backbone, "block_5_add")
    assert lower.output_shape == (None, 8, 8, 16)
    assert cut_at(backbone, None) is backbone
    assert lower.get_layer("Conv1").kernel is backbone.get_layer("Conv1").kernel
    assert feature_model(backbone, "block_5_add", "avg", "tf").output_shape == (None, 16)


def test_cut_at_a_join_that_is_no_layer() -> None:
    network = build_backbone("mobilenet_v3_small", 0.75, 32)
    assert "add" not in [layer.name for layer in network.layers]
    assert cut_at(network, "add").operations[-1].name == "add"


def test_unknown_cut_gets_the_nearest(backbone: Any) -> None:
    with pytest.raises(ParameterError, match=r"Got 'block5_add'.*nearest names: .*block_5_add"):
        cut_at(backbone, "block5_add")


def test_weights_round_trip(backbone: Any, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.weights.h5", "b.weights.h5")]
    for path in paths:
        backbone.save_weights(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    other = build_backbone("mobilenet_v2", 0.35, 64)
    load_weights(other, paths[0])
    for left, right in zip(backbone.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_weights_of_another_base_are_refused(backbone: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wide{suffix}"
    wide = build_backbone("mobilenet_v2", 0.5, 64)
    wide.save_weights(path) if suffix == ".weights.h5" else _save_old(wide, path)
    target = build_backbone("mobilenet_v2", 0.35, 64)
    with pytest.raises(HeadstartError, match=r"not those of a headless mobilenetv2_0\.35"):
        load_weights(target, path)


def test_old_format_is_read(backbone: Any, tmp_path: Path) -> None:
    _save_old(backbone, tmp_path / "base.h5")
    other = build_backbone("mobilenet_v2", 0.35, 64)
    load_weights(other, tmp_path / "base.h5")
    np.testing.assert_array_equal(backbone.get_weights()[0], other.get_weights()[0])


def test_damaged_and_incomplete_weights(backbone: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.weights.h5"
    backbone.save_weights(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(HeadstartError, match=r"cut\.weights\.h5"):
        load_weights(build_backbone("mobilenet_v2", 0.35, 64), path)
    broken = build_backbone("mobilenet_v2", 0.35, 64)
    kernel = broken.get_layer("Conv1").kernel
    kernel.assign(np.full(kernel.shape, np.nan, dtype=np.float32))
    broken.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(HeadstartError, match=r"lacks 1 of .*Conv1/kernel"):
        load_weights(build_backbone("mobilenet_v2", 0.35, 64), tmp_path / "nan.weights.h5")


def _save_old(model: Any, path: Path) -> None:
    """The layout that Keras 2 wrote and the published ImageNet weights have."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def test_pool_none_is_the_map(backbone: Any) -> None:
    assert pool(backbone.output, "none") is backbone.output

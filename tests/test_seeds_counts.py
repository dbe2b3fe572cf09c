"""The numbers of parameters and the shapes that the five tutorials name, held against ours.

The numbers in brackets are those of the tutorials' items. Weights are random: they decide neither.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from headstart.backbones.registry import BACKBONES
from headstart.keras.networks.backbone import build_backbone, call_application, feature_model
from headstart.keras.runtime import keras
from headstart.keras.training.head import build_head
from headstart.training.head import head_spec
from tests.keras.training.test_head import params

BATCH = 32


def numbers(variables: list[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def classifier(name: str, size: int, classes: int, **head: Any) -> Any:
    """A frozen backbone, average pooling and a single dense layer."""
    backbone = build_backbone(name, 1.0, size)
    backbone.trainable = False
    features = feature_model(backbone, None, "avg", BACKBONES[name].preprocessing, dtype="float32")
    plain = params(normalization="none", dropout=0.0, **head)
    shape = tuple(features.output_shape[1:])
    top = build_head(head_spec(plain, shape, classes), shape)
    return keras.Model(features.input, top(features.output))


@pytest.fixture(scope="module")
def mobilenet_v2() -> Any:
    return build_backbone("mobilenet_v2", 1.0, 224)


def test_a_batch_and_its_features(mobilenet_v2: Any) -> None:
    """(0.5, 0.8, 1.2, 1.3): a batch of (32, 224, 224, 3), features (32, 1280), answers (32, 2)."""
    features = feature_model(mobilenet_v2, None, "avg", "tf", dtype="float32")
    batch = np.zeros((BATCH, 224, 224, 3), np.float32)
    found = features.predict_on_batch(batch)
    assert found.shape == (32, 1280)
    for classes in (2, 3):
        head = build_head(head_spec(params(), (1280,), classes), (1280,))
        assert head.predict_on_batch(found).shape == (32, classes)


def test_dense_3_on_a_frozen_mobilenet_v2() -> None:
    """(1.4): 3,843 trainable of 2,261,827 parameters."""
    model = classifier("mobilenet_v2", 224, 3)
    assert numbers(model.trainable_weights) == 3_843
    assert numbers(model.weights) == model.count_params() == 2_261_827


def test_vgg16_at_150() -> None:
    """(1.7): 14,714,688 parameters, output (4, 4, 512); (1.8): flattened, 8,192 numbers."""
    backbone = build_backbone("vgg16", 1.0, 150)
    assert backbone.count_params() == 14_714_688
    assert backbone.output_shape == (None, 4, 4, 512)
    features = feature_model(backbone, None, "none", "caffe")
    assert tuple(features.output_shape[1:]) == (4, 4, 512)
    spec = head_spec(params(hidden=[256]), (4, 4, 512), 2)
    assert spec[0] == {"kind": "flatten"}
    assert build_head(spec, (4, 4, 512)).layers[1].output.shape[-1] == 8_192


def test_mobilenet_with_its_top_at_224() -> None:
    """(4.5): 4,253,864 parameters."""
    constructor = getattr(keras.applications, BACKBONES["mobilenet"].function)
    assert constructor(weights=None, input_shape=(224, 224, 3)).count_params() == 4_253_864


def test_mobilenet_frozen_at_128() -> None:
    """(4.6): 3,228,864 parameters without the top, output (4, 4, 1024), none of them trainable."""
    backbone = build_backbone("mobilenet", 1.0, 128)
    backbone.trainable = False
    assert backbone.count_params() == 3_228_864
    assert backbone.output_shape == (None, 4, 4, 1024)
    assert numbers(backbone.trainable_weights) == 0


def test_102_sigmoids_on_a_frozen_mobilenet() -> None:
    """(4.7): 104,550 trainable of 3,333,414 parameters."""
    model = classifier("mobilenet", 128, 102, activation="sigmoid")
    assert numbers(model.trainable_weights) == 104_550
    assert numbers(model.weights) == 3_333_414
    assert model.output_shape == (None, 102)


def test_dense_1_on_a_pooled_vector() -> None:
    """(3.6): one output has one weight a feature and a bias, and both probabilities come of it."""
    one = params(normalization="none", dropout=0.0, outputs="one", activation="sigmoid")
    head = build_head(head_spec(one, (2048,), 2), (2048,))
    assert numbers(head.trainable_weights) == 2_049
    assert head.output_shape == (None, 2)


#: (1.12, 2.11, 3.5): the backbones that the tutorials name: parameters without and with the top of
#: 1,000 classes as Keras lists them, and the last map at the size that Keras made them for.
BASES = {
    "efficientnet_b0": (4_049_571, 5_330_571, (7, 7, 1280)),
    "inception_v3": (21_802_784, 23_851_784, (8, 8, 2048)),
    "mobilenet": (3_228_864, 4_253_864, (7, 7, 1024)),
    "mobilenet_v2": (2_257_984, 3_538_984, (7, 7, 1280)),
    "resnet101_v2": (42_626_560, 44_675_560, (7, 7, 2048)),
    "resnet50": (23_587_712, 25_636_712, (7, 7, 2048)),
    "vgg16": (14_714_688, 138_357_544, (7, 7, 512)),
    "vgg19": (20_024_384, 143_667_240, (7, 7, 512)),
    "xception": (20_861_480, 22_910_480, (10, 10, 2048)),
}


def test_every_base_of_the_tutorials_is_in_the_table() -> None:
    assert set(BASES) <= set(BACKBONES)


@pytest.mark.parametrize("name", list(BASES))
def test_the_bases_of_the_tutorials(name: str) -> None:
    """What Keras lists with its top, less the top: a dense layer of 1,000 on the last features."""
    headless, whole, shape = BASES[name]
    record = BACKBONES[name]
    backbone = call_application(record, 1.0, record.default_size, weights=None)
    assert backbone.count_params() == headless
    assert tuple(backbone.output_shape[1:]) == shape
    # VGG has two hidden layers of 4,096 on the flattened map, the others pool it.
    if name.startswith("vgg"):
        top = 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    else:
        top = shape[-1] * 1000 + 1000
    assert headless + top == whole

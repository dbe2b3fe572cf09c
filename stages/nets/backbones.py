"""What is known of each pretrained base, one record each. Importable without TensorFlow."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from stages.core.errors import ParameterError

#: What pixels from 0 to 255 go through before the base. ``tf``: to -1 … 1. ``caffe``: blue, green,
#: red, less ImageNet's means. ``torch``: to 0 … 1, less ImageNet's means, over its deviations.
#: ``none``: the base does it itself.
Preprocessing = Literal["tf", "caffe", "torch", "none"]

#: Who builds the network. A family is one entry of ``stages.nets.base.BUILDERS``: a backbone of
#: another origin is a record here and a builder there.
Family = Literal["keras.applications", "headstart"]


@dataclass(frozen=True)
class Backbone:
    """A convolutional base without its classifier.

    Attributes
    ----------
    name : str
        The value of ``backbone.name``.
    function : str
        Its constructor in the family.
    preprocessing : Preprocessing
        What it was trained behind.
    minimum_size, default_size : int
        Side of the picture in pixels: the least that it can take, and what it was trained on.
    width : int
        Channels of its last layer at alpha 1.
    alphas : tuple of float
        Width multipliers that there are ImageNet weights for.
    weight_sizes : tuple of int
        Sizes that have ImageNet weights of their own; every other size takes those of the default
        one. Empty: one file serves all.
    licence : str
        Of the ImageNet weights, as their authors gave it; "" where we do not know.
    repaired_variance : bool
        Keras' weights file holds deviations where the network expects variances, and Keras adds a
        layer that makes up for it when it loads ImageNet weights, and only then.
    family : Family
        Who builds it. ``headstart``: it is this project's own, and its weights ship with it.
    """

    name: str
    function: str
    preprocessing: Preprocessing
    minimum_size: int
    default_size: int
    width: int
    alphas: tuple[float, ...] = (1.0,)
    weight_sizes: tuple[int, ...] = ()
    licence: str = ""
    repaired_variance: bool = False
    family: Family = "keras.applications"

    def width_at(self, alpha: float) -> int:
        """Channels of the last layer with this width multiplier."""
        if self.name == "mobilenet_v2":
            # Narrow ones keep the full last layer; wide ones round to a multiple of 8.
            return self.width if alpha <= 1 else int(self.width * alpha + 4) // 8 * 8
        return int(self.width * alpha)


def _efficientnets() -> list[Backbone]:
    sizes = (224, 240, 260, 300, 380, 456, 528, 600)
    widths = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    first = [
        Backbone(
            f"efficientnet_b{index}", f"EfficientNetB{index}", "none", 32, size, width,
            licence="Apache-2.0", repaired_variance=True,
        )
        for index, (size, width) in enumerate(zip(sizes, widths, strict=True))
    ]  # fmt: skip
    second = {
        "B0": (224, 1280),
        "B1": (240, 1280),
        "B2": (260, 1408),
        "B3": (300, 1536),
        "S": (384, 1280),
        "M": (480, 1280),
        "L": (480, 1280),
    }
    return first + [
        Backbone(
            f"efficientnet_v2_{key.lower()}", f"EfficientNetV2{key}", "none", 32, size, width,
            licence="Apache-2.0",
        )
        for key, (size, width) in second.items()
    ]  # fmt: skip


def _resnets() -> list[Backbone]:
    first = [
        Backbone(f"resnet{depth}", f"ResNet{depth}", "caffe", 32, 224, 2048, licence="MIT")
        for depth in (50, 101, 152)
    ]
    return first + [
        Backbone(f"resnet{depth}_v2", f"ResNet{depth}V2", "tf", 32, 224, 2048)
        for depth in (50, 101, 152)
    ]


def _densenets() -> list[Backbone]:
    return [
        Backbone(
            f"densenet{depth}", f"DenseNet{depth}", "torch", 32, 224, width, licence="BSD-3-Clause"
        )
        for depth, width in ((121, 1024), (169, 1664), (201, 1920))
    ]


#: Every base by name, in alphabetical order.
BACKBONES: dict[str, Backbone] = {
    record.name: record
    for record in sorted(
        [
            Backbone(
                "mobilenet", "MobileNet", "tf", 32, 224, 1024,
                alphas=(0.25, 0.5, 0.75, 1.0), weight_sizes=(128, 160, 192, 224),
                licence="Apache-2.0",
            ),
            Backbone(
                "mobilenet_v2", "MobileNetV2", "tf", 32, 224, 1280,
                alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4), weight_sizes=(96, 128, 160, 192, 224),
                licence="Apache-2.0",
            ),
            Backbone(
                "headstart-small", "build_small", "tf", 32, 64, 576, family="headstart",
                licence="non-commercial research",
            ),
            Backbone("vgg16", "VGG16", "caffe", 32, 224, 512, licence="CC-BY-4.0"),
            Backbone("vgg19", "VGG19", "caffe", 32, 224, 512, licence="CC-BY-4.0"),
            Backbone("inception_v3", "InceptionV3", "tf", 75, 299, 2048, licence="MIT"),
            Backbone("xception", "Xception", "tf", 71, 299, 2048),
            *_resnets(),
            *_efficientnets(),
            *_densenets(),
        ],
        key=lambda record: record.name,
    )
}  # fmt: skip


def find(name: str, alpha: float, image_size: int) -> Backbone:
    """The record of a name, after a check that alpha and size are possible with it.

    Raises
    ------
    ParameterError
        With the nearest names, the alphas, or the least size.
    """
    if name not in BACKBONES:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), BACKBONES, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(f'`{close}`' for close in near)}?" if near else ""
        raise ParameterError(
            f"The `backbone.name` parameter must be one of {len(BACKBONES)} names. Got {name!r} "
            f"instead.{hint} `headstart backbones` lists them all."
        )
    backbone = BACKBONES[name]
    if alpha not in backbone.alphas:
        known = ", ".join(f"{value:g}" for value in backbone.alphas)
        raise ParameterError(
            f"The `backbone.alpha` parameter must be {'one of ' if ',' in known else ''}{known} "
            f"with {name}. Got {alpha:g} instead."
        )
    if image_size < backbone.minimum_size:
        raise ParameterError(
            f"The `backbone.image_size` parameter must be an integer ≥ {backbone.minimum_size} "
            f"with {name} ({backbone.default_size} is what it was trained on). Got {image_size} "
            "instead."
        )
    return backbone


def check_weights(backbone: Backbone, weights: str) -> None:
    """Refuse ``imagenet`` for a base of our own, and ``shipped`` for any other.

    Raises
    ------
    ParameterError
        Naming the value that is meant.
    """
    ours = backbone.family == "headstart"
    if weights == ("imagenet" if ours else "shipped"):
        own = ", ".join(name for name, each in BACKBONES.items() if each.family == "headstart")
        raise ParameterError(
            f"The `backbone.weights` parameter must be {'shipped' if ours else 'imagenet'}, random "
            f"or the path of a file with {backbone.name}. Got {weights!r} instead. (`shipped` is "
            f"for {own}, whose weights come with this project, `imagenet` for all others.)"
        )
